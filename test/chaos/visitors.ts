// Visitors of public ports in a chaos run: whoever answers must be the run that the port was given to.
import type { Job } from '../../src/protocol/job.ts';

export interface Visits {
  answered: number;
  /** Refused, cut or too late: its node, its server or the job itself is away. */
  failed: number;
  wrong: { jobUuid: string; text: string }[];
}

const answerLimitMs = 6_000;

/** The program behind the port answers with the uuid of its run. `runUuids`: those of the job. */
export async function visit(visits: Visits, job: Job, runUuids: () => Promise<string[]>): Promise<void> {
  const [url] = job.node_urls;
  if (url === undefined) return;
  try {
    const response = await fetch(`http://${url.hostname}:${url.port}/`, {
      signal: AbortSignal.timeout(answerLimitMs),
    });
    const told = (await response.text()).trim();
    const known = await runUuids();
    if (response.ok && known.includes(told)) visits.answered += 1;
    else
      visits.wrong.push({
        jobUuid: job.uuid,
        text: `its port answered ${response.status} "${told.slice(0, 60)}"`,
      });
  } catch {
    visits.failed += 1;
  }
}
