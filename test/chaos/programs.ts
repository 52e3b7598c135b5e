// What the jobs of a chaos run do in their containers, and what their output must be.
import type { CreateJobBody } from '../../src/protocol/job.ts';
import type { Random } from './random.ts';

/** Every program prints `run UUID`, then lines counted from 0, then `end` as its very last line. */
export interface Program {
  kind: string;
  body: CreateJobBody;
  /** Its exit code when nobody disturbs it; null: it runs until it is stopped. */
  exitCode: number | null;
  /** Counted lines before `end`; null: as many as it gets to. */
  lineCount: number | null;
}

const head = 'echo "run $FLOTILLA_RUN_UUID"';
const countForEver = 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.3; done';

export function drawProgram(random: Random, label: string): Program {
  const draw = random.weighted(draws);
  const { container, job, ...rest } = draw(random);
  return {
    ...rest,
    body: {
      title: rest.kind,
      ...(job?.task === 'PERSISTENT' ? {} : { max_timeout_run_ms: 600_000 }),
      labels: { batch: label, kind: rest.kind },
      ...job,
      parameters: { type: 'docker', parameters: { image: 'busybox', ports: [], ...container } },
    },
  };
}

interface Drawn extends Omit<Program, 'body'> {
  container: Partial<CreateJobBody['parameters']['parameters']>;
  job?: Partial<CreateJobBody>;
}

function script(text: string) {
  return { command: ['sh', '-c', `${head}; ${text}`] };
}

const draws: { weight: number; value: (random: Random) => Drawn }[] = [
  { weight: 40, value: quick },
  { weight: 18, value: short },
  { weight: 9, value: failing },
  { weight: 12, value: long },
  { weight: 5, value: deaf },
  { weight: 4, value: polite },
  { weight: 4, value: serving },
  { weight: 3, value: talkative },
  { weight: 2, value: withVolume },
  { weight: 4, value: withGpu },
  { weight: 2, value: absentProgram },
];

function quick(random: Random): Drawn {
  const lineCount = random.integer(0, 40);
  return { kind: 'quick', exitCode: 0, lineCount, container: script(`${linesTo(lineCount)}; echo end`) };
}

function linesTo(count: number): string {
  return count === 0 ? ':' : `seq 0 ${count - 1}`;
}

function short(random: Random): Drawn {
  const lineCount = random.integer(1, 8);
  const loop = `i=0; while [ $i -lt ${lineCount} ]; do echo $i; i=$((i+1)); sleep 0.4; done; echo end`;
  const job = random.chance(0.3) ? { max_retry_count: 2 } : {};
  return { kind: 'short', exitCode: 0, lineCount, container: script(loop), job };
}

function failing(random: Random): Drawn {
  const exitCode = random.integer(1, 99);
  const lineCount = random.integer(0, 10);
  const job = { max_retry_count: random.pick([0, 0, 1, 2]) };
  return {
    kind: 'failing',
    exitCode,
    lineCount,
    container: script(`${linesTo(lineCount)}; echo end; exit ${exitCode}`),
    job,
  };
}

function long(random: Random): Drawn {
  const job: Partial<CreateJobBody> = random.chance(0.3) ? { task: 'PERSISTENT' } : { max_retry_count: 1 };
  return { kind: 'long', exitCode: null, lineCount: null, container: script(countForEver), job };
}

function deaf(): Drawn {
  const container = script(`trap '' TERM; ${countForEver}`);
  return { kind: 'deaf', exitCode: null, lineCount: null, container };
}

/** Says `end` when it hears TERM, and exits with 0. */
function polite(): Drawn {
  const container = script(`trap 'echo end; exit 0' TERM; ${countForEver}`);
  return { kind: 'polite', exitCode: null, lineCount: null, container };
}

/** Answers every visitor with the uuid of its run. */
function serving(): Drawn {
  const page = 'mkdir /tmp/www && echo "$FLOTILLA_RUN_UUID" >/tmp/www/index.html';
  const container = { ...script(`${page}; echo 0; exec httpd -f -p 8080 -h /tmp/www`), ports: [8080] };
  return { kind: 'serving', exitCode: null, lineCount: 1, container, job: { task: 'PERSISTENT' } };
}

/** More than a megabyte at once now and then, on standard error too. */
function talkative(random: Random): Drawn {
  const lineCount = random.pick([20_000, 60_000, 200_000]);
  const where = random.chance(0.5) ? ' 1>&2' : '';
  const container = { command: ['sh', '-c', `{ ${head}; ${linesTo(lineCount)}; echo end; }${where}`] };
  return { kind: 'talkative', exitCode: 0, lineCount, container };
}

function withVolume(): Drawn {
  const volumes = [{ image: 'busybox', mount: '/tree' }];
  const container = { ...script('test -x /tree/bin/busybox && echo 0; echo end'), volumes };
  return { kind: 'volume', exitCode: 0, lineCount: 1, container };
}

function withGpu(random: Random): Drawn {
  const lineCount = random.integer(1, 6);
  const loop = `i=0; while [ $i -lt ${lineCount} ]; do echo $i; i=$((i+1)); sleep 0.5; done; echo end`;
  return { kind: 'gpu', exitCode: 0, lineCount, container: script(loop), job: { gpu_count: 1 } };
}

function absentProgram(): Drawn {
  return { kind: 'absent', exitCode: 127, lineCount: 0, container: { command: ['/no/such/program'] } };
}

/** Null when the text is what this program writes; `isWhole`: to its very end. A last line may be cut otherwise. */
export function outputProblem(
  text: string,
  { program, runUuid, isWhole }: { program: Program; runUuid: string; isWhole: boolean },
): string | null {
  const lines = text.split('\n');
  const last = lines.pop() ?? '';
  const wanted = (index: number) => (index === 0 ? `run ${runUuid}` : String(index - 1));
  const isEnd = (line: string, index: number) =>
    line === 'end' && (program.lineCount === null || index === program.lineCount + 1);
  for (const [index, line] of lines.entries()) {
    if (line === wanted(index)) continue;
    if (isEnd(line, index) && index === lines.length - 1) continue;
    return `line ${index} is "${line.slice(0, 60)}" instead of "${wanted(index)}"`;
  }
  if (isWhole) {
    if (last === '' && lines.length > 0 && isEnd(lines.at(-1) ?? '', lines.length - 1)) return null;
    return `it ends after ${lines.length} lines with "${(lines.at(-1) ?? '').slice(0, 60)}${last}", before "end"`;
  }
  const isCut = wanted(lines.length).startsWith(last) || 'end'.startsWith(last);
  return isCut ? null : `its last piece is "${last.slice(0, 60)}"`;
}
