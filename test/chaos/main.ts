// `npm run chaos -- --minutes N [--seed S] [--round SECONDS]`: one chaos run, its table, and exit code 1 when the audit found anything.
import { randomBytes } from 'node:crypto';
import { parseArgs } from 'node:util';
import { tableOf } from './report.ts';
import { runChaos } from './run.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '2' },
    seed: { type: 'string' },
    // Every kind of fault comes once in a round.
    round: { type: 'string' },
  },
});
const minutes = Number(values.minutes);
if (!(minutes > 0)) throw new Error('Say how long with --minutes N.');
const seed = values.seed ?? randomBytes(4).toString('hex');
const tell = (line: string) => console.log(line);
const end = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => end.abort(new Error(signal)));
// Whatever goes wrong in here, the place is taken down.
process.once('unhandledRejection', (error) => end.abort(error));
tell(`chaos for ${minutes} min with seed ${seed}`);
const round = values.round === undefined ? {} : { roundMs: Number(values.round) * 1_000 };
const report = await runChaos({ minutes, seed, tell, signal: end.signal, ...round });
tell(tableOf(report));
process.exit(report.findings.length === 0 ? 0 : 1);
