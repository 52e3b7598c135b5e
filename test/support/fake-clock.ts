// A wall clock of its own for one process, set while it runs; its monotonic clock stays the machine's (libfaketime).
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const places = ['x86_64-linux-gnu', 'aarch64-linux-gnu'].map(
  (architecture) => `/usr/lib/${architecture}/faketime/libfaketime.so.1`,
);

export interface FakeClock {
  /** For the environment of the process. */
  env: Record<string, string>;
  /** How far the process's clock is from the machine's from now on. */
  set(offset: `${'+' | '-'}${number}${'s' | 'm' | 'h'}`): void;
}

export function createFakeClock(folder: string): FakeClock {
  const library = places.find((place) => existsSync(place));
  if (library === undefined)
    throw new Error('These tests need libfaketime; install the package libfaketime.');
  const file = join(folder, 'clock');
  const clock: FakeClock = {
    env: {
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    },
    set: (offset) => writeFileSync(file, `${offset}\n`, { mode: 0o644 }),
  };
  clock.set('+0s');
  return clock;
}
