// Two minutes of chaos on real processes, networks, engines and PostgreSQL, and an audit that must find nothing.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { faultKinds } from './faults.ts';
import { tableOf } from './report.ts';
import { runChaos } from './run.ts';

const minutes = 2;
const seed = 'npm test';
const needsRoot = { skip: process.getuid?.() === 0 ? false : 'engines and network namespaces need root' };

test(
  'two minutes of kills, pauses and cuts lose nothing, leak nothing and tell no lie',
  needsRoot,
  async () => {
    const report = await runChaos({ minutes, seed, tell: (line) => console.log(line) });
    const table = tableOf(report);
    console.log(table);
    assert.deepEqual(report.findings, [], table);
    for (const kind of faultKinds)
      assert.ok(report.faults[kind] >= 2, `${kind} happened ${report.faults[kind]} times`);
    assert.ok(report.jobs.submitted >= 40, table);
    assert.ok(report.stops >= 10, table);
    assert.ok(report.logs.bytes > 0, table);
  },
);
