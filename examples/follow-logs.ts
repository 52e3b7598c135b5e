// Follows the log of a job's latest run, from its first byte to its last: follow-logs.ts JOB
import { clientFromEnvironment } from 'flotilla/sdk';

const [uuid = ''] = process.argv.slice(2);
const client = clientFromEnvironment();

const { data } = await client.runs.list({ filter: { job_uuid: uuid }, limit: 1 });
const [run] = data;
if (run === undefined) throw new Error('The job has no run yet: it waits for a node.');

// Pushed, not polled; it goes on through restarts of the server without losing or repeating a byte.
const { nextOffset, isComplete } = await client.runs.followLogs(run.uuid, ({ text, gap }) => {
  if (gap !== null) process.stdout.write(`[${gap.to - gap.from} bytes were not kept]\n`);
  process.stdout.write(text);
});
console.error(`${nextOffset} bytes${isComplete ? '' : ', and the rest never arrived'}`);
client.close();
