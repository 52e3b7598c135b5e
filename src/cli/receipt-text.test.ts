// A receipt in words: which steps are said while a person waits, and the tables of the whole.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Receipt, ReceiptStep } from '../protocol/receipt.ts';
import { ladderWords, outcomeText, receiptLines, stopperText } from './receipt-text.ts';

const at = '2026-01-31T12:00:00.000Z';
const line = { state: 'proved', text: 'seen' } as const;

function aStep(step: ReceiptStep['step'], fields: Partial<ReceiptStep> = {}): ReceiptStep {
  return { step, state: 'done', clock: 'agent', ms: 7, at: null, text: null, ...fields };
}

function aReceipt(fields: Partial<Receipt> = {}): Receipt {
  return {
    object: 'receipt',
    ...{ job_uuid: 'job-1', job_status: 'CANCELLED', run_uuid: 'run-1', run_status: 'CANCELLED' },
    ...{ attempt: 1, node_uuid: 'node-1', container_id: 'c0ffee', state: 'verified' },
    summary: 'Nothing of the run is left.',
    stop: { text: 'seen enough', by: { kind: 'key', public_key: 'pk_1', address: '10.0.0.7' }, at },
    ...{ cause: null, requested_at: at, grace_ms: 10_000, deadline_at: at },
    exit: { code: 143, signal: 'SIGTERM', is_oom_killed: false, at },
    proof: {
      ...{ container: line, processes: line, networks: line, ports: line, tokens: line, log: line },
      ...{ volumes: { state: 'none', text: 'it had no volume' }, gpus: { state: 'none', text: 'no GPU' } },
    },
    ...{ gpus: [], is_stuck: false, verified_at: at },
    steps: [
      aStep('requested', { clock: 'server', ms: 0 }),
      aStep('delivered', { clock: 'server', ms: 4 }),
      aStep('signalled'),
      aStep('killed', { state: 'not_needed', clock: null, ms: null }),
      aStep('exited', { ms: 41 }),
      aStep('removed', { ms: 60 }),
      aStep('verified', { clock: 'server', ms: 77 }),
    ],
    ...fields,
  };
}

test('while a person waits, the rungs of the ladder that are done are said, with the exit code', () => {
  assert.deepEqual(
    [...ladderWords(aReceipt()).values()],
    [
      ...['stop requested', 'delivered to the agent', 'stop signal sent'],
      'container ended, exit code 143, SIGTERM',
    ],
  );
});

test('the outcome is the proof, or why there is none', () => {
  assert.equal(outcomeText(aReceipt()), 'container gone, verified');
  const summary = 'The end is not proved: the node is lost.\u001b[2J';
  assert.equal(outcomeText(aReceipt({ state: 'unverified', summary })), `${summary.slice(0, -4)} [2J`);
});

test('the whole receipt: who and why, each step under its own clock, each part with what was seen', () => {
  const lines = receiptLines(aReceipt(), null);
  assert.deepEqual(lines.slice(0, 6), [
    'Job:      job-1 (CANCELLED)',
    'Run:      run-1, attempt 1, on node node-1',
    'Receipt:  verified',
    `Stopped:  seen enough, by key pk_1 from 10.0.0.7 at ${at}`,
    'Grace:    10s',
    'Exit:     exit code 143, SIGTERM',
  ]);
  const text = lines.join('\n');
  assert.match(text, /^STEP +STATE +SERVER MS +AGENT MS +NOTE$/m);
  assert.match(text, /^delivered to the agent +done +4 +- +-$/m);
  assert.match(text, /^stop signal sent +done +- +7 +-$/m);
  assert.match(text, /^KILL sent +not needed +- +- +-$/m);
  assert.match(text, /^volumes +none +it had no volume$/m);
  assert.match(
    text,
    /^Server: milliseconds since .*database's clock\.\nAgent: milliseconds since the agent/m,
  );
});

test('a run that goes on has no tables', () => {
  const summary = 'The job is RUNNING and its run goes on: there is nothing to prove yet.';
  const lines = receiptLines(aReceipt({ state: null, summary, stop: null, exit: null, steps: [] }), null);
  assert.equal(lines.at(-1), summary);
  assert.ok(!lines.some((text) => text.startsWith('STEP')));
});

test('who stopped a job is said as far as it is known', () => {
  assert.equal(stopperText({ kind: 'scheduler' }), 'by scheduler');
  assert.equal(stopperText({ address: '::1' }), 'from ::1');
  assert.equal(stopperText({}), null);
  assert.equal(stopperText(null), null);
});
