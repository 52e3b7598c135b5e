// GPUs for tests: the stub of nvidia-smi on this process's PATH, and what it tells of each GPU.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';

const stubs = resolve(import.meta.dirname, 'stubs');

export interface StubGpus extends Disposable {
  uuids: string[];
  /** From now on a GPU has so much memory in use, by these processes. */
  use(uuid: string, usedMib: number, pids?: number[]): void;
  /** From now on only the first so many are there. */
  setCount(count: number): void;
  /** nvidia-smi fails, or works again. */
  break(isBroken: boolean): void;
}

/** Of this process and its children, until disposed. */
export function stubGpus(count: number): StubGpus {
  const folder = mkdtempSync(join(tmpdir(), 'flotilla-gpus-'));
  const file = join(folder, 'state');
  const before = { ...process.env };
  const lines = new Map<string, string>();
  let isBroken = false;
  const write = () =>
    writeFileSync(file, `${[...lines.values(), ...(isBroken ? ['broken'] : [])].join('\n')}\n`);
  write();
  process.env.PATH = `${stubs}${delimiter}${before.PATH ?? ''}`;
  process.env.FLOTILLA_TEST_GPU_COUNT = String(count);
  process.env.FLOTILLA_TEST_GPU_STATE = file;
  return {
    uuids: Array.from(
      { length: count },
      (_, index) => `GPU-00000000-0000-4000-8000-${String(index).padStart(12, '0')}`,
    ),
    use(uuid, usedMib, pids = []) {
      lines.set(uuid, [uuid, usedMib, ...pids].join(' '));
      write();
    },
    setCount(newCount) {
      process.env.FLOTILLA_TEST_GPU_COUNT = String(newCount);
    },
    break(isNowBroken) {
      isBroken = isNowBroken;
      write();
    },
    [Symbol.dispose]() {
      for (const name of ['PATH', 'FLOTILLA_TEST_GPU_COUNT', 'FLOTILLA_TEST_GPU_STATE']) {
        if (before[name] === undefined) delete process.env[name];
        else process.env[name] = before[name];
      }
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
