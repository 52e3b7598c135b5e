// One look at the node by a process of its own, which a test puts into an unfit place; prints the state as JSON.
// Usage: isolation-process.ts [USER_ID]
import { systemClock } from '../../../src/agent/clock.ts';
import { DockerRuntime } from '../../../src/agent/docker.ts';
import { NodeIsolation } from '../../../src/agent/network.ts';

const userId = process.argv[2];
if (userId !== undefined) process.setuid?.(Number(userId));

const silent = { debug() {}, info() {}, warn() {}, error() {} };
const isolation = new NodeIsolation({
  runtime: new DockerRuntime(null),
  clock: systemClock,
  log: silent,
  isLanAllowed: false,
  onChange() {},
});
const abort = new AbortController();
const running = isolation.run(abort.signal);
await isolation.ready;
console.log(JSON.stringify(isolation.state));
abort.abort();
await running;
