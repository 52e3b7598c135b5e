// The program's own log on a disk without space.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

const program = `
  import { createLogger } from ${JSON.stringify(new URL('./logger.ts', import.meta.url).href)};
  const log = createLogger({ file: process.argv[1] === 'stdout' ? null : process.argv[1], level: 'info' });
  for (let round = 0; round < 100; round += 1) log.info({ round }, 'a line');
  setTimeout(() => { log.info('one more'); process.stderr.write('alive'); }, 50);
`;

const full = '/dev/full';

for (const [name, stdout] of [
  ['a file', 'ignore'],
  ['standard output', 'full'],
] as const) {
  test(`a disk without space under ${name} costs log lines, not the program`, {
    skip: process.platform !== 'linux',
  }, () => {
    const isStdout = stdout === 'full';
    const redirect = isStdout ? ` > ${full}` : '';
    const { status, stderr } = spawnSync(
      'sh',
      [
        '-c',
        `"$0" --input-type=module -e "$1" "$2"${redirect}`,
        process.execPath,
        program,
        isStdout ? 'stdout' : full,
      ],
      { encoding: 'utf8', timeout: 20_000 },
    );
    assert.deepEqual([status, stderr], [0, 'alive']);
  });
}
