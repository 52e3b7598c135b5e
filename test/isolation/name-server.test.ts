// Names where the host's own name server listens on loopback only: an engine of its own, since it reads that at its start.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

test('names are resolved by a server on loopback, without a rule that opens the host', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'flotilla-names-'));
  writeFileSync(join(folder, 'resolv.conf'), 'nameserver 127.0.0.1\n');
  const harness = fileURLToPath(new URL('../../scripts/with-docker.sh', import.meta.url));
  const program = fileURLToPath(new URL('./support/loopback-names.ts', import.meta.url));
  const { FLOTILLA_TEST_IN_NAMESPACE: _namespace, DOCKER_HOST: _engine, ...env } = process.env;
  const inside = ['sh', '-c', 'mount --bind "$0" /etc/resolv.conf && exec "$@"', join(folder, 'resolv.conf')];
  try {
    const command = ['--mount', ...inside, harness, process.execPath, program];
    const { stdout } = await promisify(execFile)('unshare', command, { env, timeout: 60_000 });
    assert.match(stdout, /^enforced/);
    assert.match(stdout, /answer\.test\s+Address: 203\.0\.113\.2/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
