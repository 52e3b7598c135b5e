// `npm run chaos`: the chaos run of test/chaos in a network namespace of its own (needs root).
// Usage: node scripts/chaos.mjs [--minutes N] [--seed S] [--round SECONDS]

import { join } from 'node:path';
import { fail, prepare, root, runAndExit } from './runtime.mjs';
import { installTestPackages } from './test-packages.mjs';

if (process.getuid() !== 0) fail('Network namespaces and engines of its own need root.');
const node = prepare();
installTestPackages({ withDocker: true });
const inside = `ip link set lo up && exec "$@"`;
const chaos = [node, join(root, 'test', 'chaos', 'main.ts'), ...process.argv.slice(2)];
runAndExit('unshare', ['--net', '--', 'sh', '-c', inside, 'sh', ...chaos], { cwd: root });
