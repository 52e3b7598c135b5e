// Public ports in placement: a range is never promised twice, rest belongs to one account, and who waits blocks nobody.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { pendingReasons } from './pending-reason.ts';
import { plan } from './placement.ts';
import { aJob, aNode, type JobWish } from './placement-builders.ts';
import { type FreePorts, PublicPorts } from './placement-ports.ts';
import { createWorkingSet, type WorkingSet } from './placement-working-set.ts';

function free(
  rested: number,
  resting: Record<string, number> = {},
  promised: Record<string, number> = {},
): FreePorts {
  const restingByAccount = new Map(Object.entries(resting));
  return { rested, restingByAccount, promisedByAccount: new Map(Object.entries(promised)) };
}

function withJobs(ports: FreePorts | null, jobs: readonly JobWish[]): WorkingSet {
  const workingSet = createWorkingSet();
  workingSet.upsertNode(aNode());
  if (ports !== null) workingSet.setFreePorts(ports);
  for (const [at, wish] of jobs.entries())
    workingSet.upsertJob(aJob({ id: `job-${at}`, submittedAtMs: at, ...wish }));
  return workingSet;
}

const placed = (workingSet: WorkingSet) =>
  plan(workingSet, 1_000_000, { limit: 100 }).placements.map(({ jobId }) => jobId);

test('jobs that want more ports than are free wait with the reason, those behind them do not', () => {
  const workingSet = withJobs(free(2), [
    { publicPortCount: 1 },
    { publicPortCount: 2 },
    { publicPortCount: 1 },
    {},
  ]);
  assert.deepEqual(placed(workingSet), ['job-0', 'job-2', 'job-3']);
  const reason = pendingReasons(workingSet).get(workingSet.shapeKey('job-1') ?? '');
  assert.equal(reason?.code, 'no_public_port');
  assert.equal(
    reason?.message,
    'No public port is free: needs 2 of the gateway, which are in use or rest after use.',
  );
  assert.equal(reason?.wouldFit, null);
  workingSet.setFreePorts(free(1));
  assert.deepEqual(placed(workingSet), []);
  workingSet.setFreePorts(free(2));
  assert.deepEqual(placed(workingSet), ['job-1']);
});

test('ports that rest are their own account’s, and used before those that anybody could have', () => {
  const workingSet = withJobs(free(1, { mine: 1 }), [
    { accountId: 'other', publicPortCount: 2 },
    { accountId: 'mine', publicPortCount: 1 },
    { accountId: 'other', publicPortCount: 1 },
    { accountId: 'mine', publicPortCount: 1 },
  ]);
  assert.deepEqual(placed(workingSet), ['job-1', 'job-2']);
});

test('what was promised to runs that start is not free', () => {
  const workingSet = withJobs(free(2, { mine: 1 }, { mine: 2 }), [
    { accountId: 'mine', publicPortCount: 2 },
    { accountId: 'other', publicPortCount: 1 },
  ]);
  assert.deepEqual(placed(workingSet), ['job-1']);
});

test('a job that fits no node says so, whatever the ports; one that waits long for ports holds no node', () => {
  const workingSet = withJobs(free(0), [{ publicPortCount: 1, cpuCount: 99 }, { publicPortCount: 1 }]);
  assert.deepEqual(placed(workingSet), []);
  const codes = [...pendingReasons(workingSet).values()].map(({ code }) => code);
  assert.deepEqual(codes.toSorted(), ['no_fitting_node', 'no_public_port']);
  assert.deepEqual(workingSet.reservations, []);
});

test('where nobody counts ports they keep no job waiting', () => {
  assert.deepEqual(placed(withJobs(null, [{ publicPortCount: 50 }])), ['job-0']);
});

test('a line that emptied while it waited is not woken', () => {
  const workingSet = withJobs(free(0), [{ publicPortCount: 1 }]);
  placed(workingSet);
  workingSet.removeJob('job-0');
  assert.equal(workingSet.wantsPorts, false);
  workingSet.setFreePorts(free(5));
  assert.deepEqual(placed(workingSet), []);
});

test('never more is promised than there is, and no account is promised what rests for another', () => {
  const account = fc.constantFrom('a', 'b', 'c');
  const counts = fc.dictionary(account, fc.nat(4));
  const jobs = fc.array(fc.record({ accountId: account, publicPortCount: fc.nat(3), priority: fc.nat(2) }), {
    maxLength: 12,
  });
  fc.assert(
    fc.property(fc.nat(6), counts, jobs, (rested, resting, wishes) => {
      const workingSet = withJobs(free(rested, resting), wishes);
      const got = new Map<string, number>();
      for (const id of placed(workingSet)) {
        const { accountId = '', publicPortCount = 0 } = wishes[Number(id.slice(4))] ?? {};
        got.set(accountId, (got.get(accountId) ?? 0) + publicPortCount);
      }
      const beyondOwn = [...got].map(([id, count]) => Math.max(0, count - (resting[id] ?? 0)));
      assert.ok(beyondOwn.reduce((sum, count) => sum + count, 0) <= rested);
      // Nobody is left waiting who could have been served.
      const left = new PublicPorts(free(rested, resting));
      for (const [id, count] of got) left.take(id, count);
      for (const [at, { accountId, publicPortCount }] of wishes.entries()) {
        if (workingSet.shapeKey(`job-${at}`) !== null)
          assert.ok(publicPortCount > left.availableTo(accountId));
      }
    }),
  );
});
