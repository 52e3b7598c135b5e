// What the receipts must say after a chaos run: every end is proved, or says why it is not.
import type { Client } from '../../src/sdk/client.ts';
import type { Evidence, Finding, RunRow } from './findings.ts';

export interface ReceiptAudit {
  findings: Finding[];
  /** Runs by the state of their receipt. */
  states: Record<string, number>;
}

interface Receipt {
  state: 'open' | 'verified' | 'unverified' | null;
  summary: string;
  verified_at: string | null;
}

const readersAtOnce = 6;

/** Reads every run's receipt through the API. */
export async function auditReceipts(client: Client, { runs }: Evidence): Promise<ReceiptAudit> {
  const audit: ReceiptAudit = { findings: [], states: {} };
  const left = [...runs];
  const readNext = async (): Promise<void> => {
    for (let run = left.pop(); run !== undefined; run = left.pop()) {
      const receipt = await client.request<Receipt>('GET', `/v1/job-runs/${run.id}/receipt`);
      const word = receipt.state ?? 'none';
      audit.states[word] = (audit.states[word] ?? 0) + 1;
      const problem = receiptProblem(run, receipt);
      if (problem === null) continue;
      const places = { jobUuid: run.job_id, runUuid: run.id, node: run.node_id };
      audit.findings.push({ kind: 'stop', text: problem, ...places });
    }
  };
  await Promise.all(Array.from({ length: readersAtOnce }, readNext));
  return audit;
}

/** Only a node that was given up, or an agent that could not look, leaves an end unproved. */
function receiptProblem(run: RunRow, { state, summary, verified_at }: Receipt): string | null {
  if (state === 'verified' && verified_at === null) return 'its receipt is verified at no time';
  if (state === 'verified') return null;
  if (state === 'unverified')
    return /^The end is not proved: .{10,}/.test(summary) ? null : `its receipt is unverified: ${summary}`;
  return `its receipt is ${state ?? 'absent'} although the run is ${run.status}: ${summary}`;
}
