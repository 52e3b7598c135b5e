// Rules that hold Flotilla together, each with the edit that breaks it.

export interface Edit {
  /** Of src; for a folder of migrations the last file that holds `defines`, since later ones replace functions. */
  file: string;
  defines?: string;
  from: string;
  to: string;
}

export interface Mutant {
  rule: string;
  name: string;
  edits: readonly Edit[];
  /** Where the search begins: this seed was found to catch it, which saves time and means nothing else. */
  likelySeed: number;
  /** `caught`, or `held`: another line of defence holds, which a mutant of the same rule breaks too. */
  expected: 'caught' | 'held';
  /** Invariants that do not count, since they would catch the second line and not the rule. */
  ignored?: readonly string[];
}

const migrations = 'db/migrations';

const attemptCheck: Edit = {
  file: 'db/run-events.ts',
  from: 'return from.attempt === run.attempt ? null :',
  to: 'return from.attempt >= 0 ? null :',
};
const killAtHello: Edit = {
  file: 'hub/kill-list.ts',
  from: '  if (killed.length === 0) return;\n',
  to: '  if (killed.length >= 0) return;\n',
};
const leaderCheck: Edit = {
  file: migrations,
  defines: 'function flotilla_write_plan(',
  from: 'perform from leaderships l where l.name = leader_name and l.holder = leader and l.epoch = leader_epoch\n    and l.expires_at > at for share;',
  to: 'perform from leaderships l where l.name = leader_name for share;',
};
const gpuIndex: Edit = {
  file: migrations,
  defines: 'create table gpu_allocations',
  from: '  run_id uuid not null,\n  primary key (node_id, gpu_uuid)\n);',
  to: '  run_id uuid not null\n);',
};
const everybodyLeads: Edit = {
  file: 'db/leadership.ts',
  from: 'where l.holder = excluded.holder or l.expires_at < flotilla_now()',
  to: 'where true',
};
const leaderIgnored = ['only the leader plans'];

export const mutants: readonly Mutant[] = [
  {
    rule: 'the attempt check',
    name: 'alone: a report of an older attempt is about a run that has ended',
    edits: [attemptCheck],
    likelySeed: 1,
    expected: 'held',
  },
  {
    rule: 'the attempt check',
    name: 'and what has ended may end again',
    edits: [
      attemptCheck,
      {
        file: 'domain/transition.ts',
        from: 'function exit({ job, run }: WithRun, end: RunEnd, nowMs: number): Outcome {\n  if (isTerminal(run.status)) return',
        to: 'function exit({ job, run }: WithRun, end: RunEnd, nowMs: number): Outcome {\n  if (run.attempt < 0) return',
      },
    ],
    likelySeed: 18,
    expected: 'caught',
  },
  {
    rule: "Stop's status guard",
    name: 'a job that has ended is stopped too',
    edits: [
      {
        file: migrations,
        defines: 'function flotilla_stop_jobs(',
        from: "j.status in ('PENDING', 'ASSIGNED', 'RUNNING')\n      and (statuses is null",
        to: "j.status <> 'CANCELLED'\n      and (statuses is null",
      },
    ],
    likelySeed: 2,
    expected: 'caught',
  },
  {
    rule: 'release only after verified',
    name: 'resources return with the exit',
    edits: [
      {
        file: 'domain/transition.ts',
        from: 'const final: RunState = { ...ended, status,',
        to: 'const final: RunState = { ...ended, releasedAtMs: nowMs, status,',
      },
    ],
    likelySeed: 2,
    expected: 'caught',
  },
  {
    rule: 'the kill list',
    name: 'alone: the agent names what it was not told of as orphans, and is answered',
    edits: [killAtHello],
    likelySeed: 1,
    expected: 'held',
    ignored: ['the kill list comes first'],
  },
  {
    rule: 'the kill list',
    name: 'and orphans are not judged',
    edits: [
      killAtHello,
      {
        file: 'hub/kill-list.ts',
        from: '  if (ended.length > 0)\n',
        to: '  if (ended.length < 0)\n',
      },
    ],
    likelySeed: 16,
    expected: 'caught',
  },
  {
    rule: 'inventory first',
    name: 'the agent acts before it has looked at its containers',
    edits: [
      { file: 'agent/loop.ts', from: '    this.#held = held;\n', to: '    this.#held = null;\n' },
      { file: 'agent/loop.ts', from: '    if (this.#held !== held) return;\n', to: '' },
    ],
    likelySeed: 33,
    expected: 'caught',
  },
  {
    rule: "the leader's epoch",
    name: 'any replica may write a plan',
    edits: [leaderCheck],
    likelySeed: 6,
    expected: 'caught',
  },
  {
    rule: 'the retry count',
    name: 'one retry more than was asked for',
    edits: [
      {
        file: 'domain/transition.ts',
        from: 'if (counted.failedRunCount <= job.maxRetryCount) return returnToPending(counted, nowMs);',
        to: 'if (counted.failedRunCount <= job.maxRetryCount + 1) return returnToPending(counted, nowMs);',
      },
    ],
    likelySeed: 1,
    expected: 'caught',
  },
  {
    rule: 'double reports',
    name: 'what was released is released again',
    edits: [
      {
        file: 'domain/transition.ts',
        from: '  if (run.releasedAtMs !== null) return proveLate(state, proof, nowMs);\n',
        to: '  if (run.receipt.fenced !== null) return proveLate(state, proof, nowMs);\n',
      },
      {
        file: 'db/run-events.ts',
        from: 'is_release: !held.wasReleased && run.releasedAtMs !== null,',
        to: 'is_release: run.releasedAtMs !== null,',
      },
    ],
    likelySeed: 3,
    expected: 'caught',
  },
  {
    rule: 'the GPU re-check',
    name: 'control: two planners and no unique index, the re-check holds',
    edits: [everybodyLeads, leaderCheck, gpuIndex],
    likelySeed: 1,
    expected: 'held',
    ignored: leaderIgnored,
  },
  {
    rule: 'the GPU re-check',
    name: 'two planners, no unique index and no re-check',
    edits: [
      everybodyLeads,
      leaderCheck,
      gpuIndex,
      {
        file: migrations,
        defines: 'function flotilla_write_plan(',
        from: 'where not exists (select from gpu_allocations g where g.node_id = p.node_id and g.gpu_uuid = any (p.gpus))',
        to: 'where true',
      },
    ],
    likelySeed: 10,
    expected: 'caught',
    ignored: leaderIgnored,
  },
  {
    rule: 'no loss during our own outage',
    name: 'silence counts whether it was watched or not, also that of the whole fleet',
    edits: [
      {
        file: 'domain/silence.ts',
        from: 'sinceMs: Math.max(watch.beganAtMs, nowMs - beforeMs)',
        to: 'sinceMs: nowMs - Math.max(silentMs, beforeMs)',
      },
      { file: 'domain/silence.ts', from: 'const suspiciousCount = 2;', to: 'const suspiciousCount = 1_000;' },
      {
        file: 'scheduler/node-loss.ts',
        from: '      await renewAllLeases(database, defaultLeaseMs);\n',
        to: '      if (defaultLeaseMs < 0) await renewAllLeases(database, defaultLeaseMs);\n',
      },
    ],
    likelySeed: 19,
    expected: 'caught',
  },
];
