// Submits a job, waits for its end and shows its log: submit-and-wait.ts IMAGE [COMMAND...]
import { clientFromEnvironment } from 'flotilla/sdk';

const [image = 'busybox', ...command] = process.argv.slice(2);
const client = clientFromEnvironment();

const job = await client.jobs.create({
  title: 'submit-and-wait',
  max_timeout_run_ms: 60_000,
  parameters: { type: 'docker', parameters: { image, ...(command.length > 0 ? { command } : {}) } },
});

const ended = await client.jobs.wait(job.uuid, {
  onStatus: ({ status, pending_reason }) => console.log(status, pending_reason?.message ?? ''),
});

const { data } = await client.runs.list({ filter: { job_uuid: job.uuid }, limit: 1 });
for (const { uuid } of data) {
  // To its last byte, which may come after the end.
  await client.runs.followLogs(uuid, ({ text }) => void process.stdout.write(text));
}

if (ended.status_reason !== null) console.log(ended.status_reason);
process.exitCode = ended.status === 'COMPLETED' ? 0 : 1;
client.close();
