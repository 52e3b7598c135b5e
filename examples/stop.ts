// Stops a job, in whatever state it is, and shows what was seen of its end: stop.ts JOB
import { clientFromEnvironment } from 'flotilla/sdk';

const [uuid = ''] = process.argv.slice(2);
const client = clientFromEnvironment();

// The job is CANCELLED at once; wait_ms makes the answer wait until nothing of it is left.
const job = await client.jobs.cancel(uuid, { reason: 'stopped by an example', wait_ms: 30_000 });
console.log(job.status, job.teardown?.state ?? 'had no container');

const receipt = await client.jobs.receipt(uuid);
for (const { step, state, ms } of receipt.steps)
  console.log(`  ${step}: ${state}${ms === null ? '' : `, ${ms} ms`}`);
client.close();
