// What /proc, cgroups of both versions and nvidia-smi say of use, read from real texts of each.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { readCgroupUsage, readNetworkUsage } from './cgroup-usage.ts';
import { parseGpuLoads } from './gpu-load.ts';
import { readMachine } from './machine-load.ts';

/** A folder with these files, for as long as it is used. */
function aFolder(files: Record<string, string>): Disposable & { path: string } {
  const path = mkdtempSync(join(tmpdir(), 'flotilla-load-'));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(path, name)), { recursive: true });
    writeFileSync(join(path, name), text);
  }
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
}

const stat = `cpu  300 0 100 600 0 0 0 0 0 0
cpu0 100 10 50 800 20 5 15 30 0 0
cpu1 200 0 50 700 0 0 0 0 7 0
intr 1 2 3
`;
const interfaces = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 9000       9    0    0    0     0          0         0     9000       9    0    0    0     0       0          0
  eth0:1500 10 0 0 0 0 0 0 700 5 0 0 0 0 0 0
docker0:     800       1    0    0    0     0          0         0      900       1    0    0    0     0       0          0
`;
const routes = `Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
`;
const disks = `   7       0 loop0 528 4 19260 106 60313 2532 1207898 31918 0 24828 55000
 259       0 nvme0n1 10 0 100 5 20 0 200 5 0 1 1
 259       1 nvme0n1p1 10 0 100 5 20 0 200 5 0 1 1
   8       0 sda 10 0 7 5 20 0 3 5 0 1 1
   8       1 sda1 10 0 7 5 20 0 3 5 0 1 1
`;

test('a machine: CPUs, memory, its way out, and whole disks', async () => {
  const meminfo = 'MemTotal:        2000 kB\nMemFree:  100 kB\nMemAvailable:     1500 kB\n';
  const files = { stat, meminfo, 'net/dev': interfaces, 'net/route': routes, diskstats: disks };
  using proc = aFolder(files);
  assert.deepEqual(await readMachine(proc.path), {
    cores: [
      { busy: 180, total: 1030 },
      { busy: 250, total: 950 },
    ],
    cpuMs: 4300,
    ...{ memoryBytes: 500 * 1024, memoryFreeBytes: 1500 * 1024, memoryTotalBytes: 2000 * 1024 },
    ...{ networkRxBytes: 1500, networkTxBytes: 700 },
    ...{ diskReadBytes: 107 * 512, diskWrittenBytes: 203 * 512 },
  });
});

test('a machine that does not say is not known, and not idle', async () => {
  using proc = aFolder({ 'net/dev': interfaces });
  const reading = await readMachine(proc.path);
  const { cores, ...rest } = reading;
  assert.deepEqual(cores, []);
  assert.deepEqual(new Set(Object.values(rest)), new Set([null]));
});

test('a container of cgroup version 2', async () => {
  using cgroup = aFolder({
    'cpu.stat': 'usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n',
    'memory.current': '5000000\n',
    'memory.stat': 'anon 1\nfile 2\ninactive_file 1000000\nactive_file 5\n',
    'io.stat': '259:0 rbytes=100 wbytes=200 rios=1 wios=2\n8:0 rbytes=1 wbytes=2 rios=1 wios=1\n',
  });
  assert.deepEqual(await readCgroupUsage([cgroup.path]), {
    ...{ cpuMs: 2500, memoryBytes: 4_000_000, diskReadBytes: 101, diskWrittenBytes: 202 },
  });
});

test('a container of cgroup version 1, with a folder for each controller', async () => {
  using root = aFolder({
    'cpu/cpu.stat': 'nr_periods 0\nnr_throttled 0\nthrottled_time 0\n',
    'cpuacct/cpuacct.usage': '2500000000\n',
    'memory/memory.usage_in_bytes': '5000000\n',
    'memory/memory.stat': 'inactive_file 7\ntotal_inactive_file 1000000\n',
    'blkio/blkio.throttle.io_service_bytes_recursive': '8:0 Read 100\n8:0 Write 200\n8:0 Sync 9\nTotal 300\n',
  });
  const folders = ['cpu', 'cpuacct', 'memory', 'blkio', 'pids'].map((name) => join(root.path, name));
  assert.deepEqual(await readCgroupUsage(folders), {
    ...{ cpuMs: 2500, memoryBytes: 4_000_000, diskReadBytes: 100, diskWrittenBytes: 200 },
  });
});

test('a container that is gone has no use', async () => {
  using folder = aFolder({});
  assert.equal(await readCgroupUsage([]), null);
  assert.equal(await readCgroupUsage([join(folder.path, 'gone')]), null);
  assert.deepEqual(await readNetworkUsage(4, folder.path), { networkRxBytes: null, networkTxBytes: null });
});

test("a container's network is all of its interfaces but its own loop", async () => {
  using proc = aFolder({ '4/net/dev': interfaces });
  assert.deepEqual(await readNetworkUsage(4, proc.path), { networkRxBytes: 2300, networkTxBytes: 1600 });
});

test('GPUs: what nvidia-smi does not know is not known', () => {
  const text =
    'GPU-1111-2222, 35, 1024\nGPU-3333-4444, [N/A], [N/A]\nUnable to determine the device handle\n\n';
  assert.deepEqual(parseGpuLoads(text), [
    { uuid: 'GPU-1111-2222', utilisation: 0.35, memory_used_bytes: 1024 * 2 ** 20 },
    { uuid: 'GPU-3333-4444', utilisation: null, memory_used_bytes: null },
  ]);
});
