// `flotilla job submit`: from an image and options, a JSON file, or JSON on stdin.
import { readFile } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import type { CreateJobBody } from '../../protocol/job.ts';
import type { Cli } from '../cli.ts';
import { UsageError } from '../errors.ts';
import { exitCodeHelp } from '../exit-code.ts';
import { parseImageReference } from '../image-reference.ts';
import type { Io } from '../io.ts';
import {
  bodyFromImage,
  checkPublicKey,
  jsonOnlyFields,
  parseEnv,
  parseEnvFile,
  parseLabel,
  parseVolume,
  type SubmitOptions,
  type VolumeOption,
  withOptions,
} from '../job-body.ts';
import {
  type ApiFlags,
  collect,
  durationMs,
  integer,
  numberFrom0,
  ports,
  reader,
  withApiOptions,
} from '../options.ts';
import { printJson, printLines } from '../output.ts';
import { followToEnd } from '../watch-job.ts';

const examples = `
Examples:
  flotilla job submit busybox -- echo hello
  flotilla job submit host:5000/team/train:2 --gpus 1 --vram-gb 24 --timeout 6h --env-file train.env --wait
  flotilla job submit nginx --task PERSISTENT --port 80 --label team=web
  flotilla job submit job.json --title "another title"
  generate-job | flotilla job submit -

The uuid of the job is the only line on stdout; what happens is told on stderr. With --wait the log of the job
goes to stdout instead. Options given beside a JSON body replace its fields; --env and --label add to them.

A JSON body is that of POST /v1/jobs, which the server describes at /docs. Fields that have no option go there:
${jsonOnlyFields.join(', ')}, and registry, user and secret of a volume.`;

interface SubmitFlags
  extends ApiFlags,
    Omit<
      SubmitOptions,
      'env' | 'labels' | 'sshKey' | 'ports' | 'allowedIps' | 'volumes' | 'regions' | 'registrySecret'
    > {
  file?: string;
  env?: string[];
  envFile?: string[];
  label?: string[];
  port?: number[];
  /** false: --no-ports. */
  ports: boolean;
  sshKey?: string;
  allowIp?: string[];
  volume?: VolumeOption[];
  region?: string[];
  registrySecretFile?: string;
  timeout?: number;
  startTimeout?: number;
  assignTimeout?: number;
  maxCost?: number;
  renewWithin?: number;
  idleTimeout?: number;
  stopGrace?: number;
  wait?: true;
  follow?: true;
  idempotencyKey?: string;
}

export function addJobSubmit(job: Command, cli: Cli) {
  const command = job
    .command('submit')
    .description('Submits a job.')
    .argument('[source]', 'IMAGE[:TAG], a file that ends in .json, or - for JSON on stdin')
    .argument('[command...]', "after --: the command, instead of the image's own")
    .option('--file <file>', 'JSON file of any name, - for stdin')
    .addHelpText('after', `${examples}\n${exitCodeHelp}`);
  addJobOptions(command);
  addContainerOptions(command);
  command
    .optionsGroup('After submitting:')
    .option('-w, --wait', 'follow status and log until the job ends; the exit code says how')
    .option('-f, --follow', 'the same as --wait')
    .option('--idempotency-key <key>', 'a second submit with this key within 24 h makes no second job');
  withApiOptions(command).action((source: string | undefined, words: string[], flags: SubmitFlags) =>
    submitJob(cli, { source, words }, flags),
  );
}

function addJobOptions(command: Command) {
  command
    .optionsGroup('Job:')
    .addOption(
      new Option('--task <task>', 'BATCH runs to its end, PERSISTENT until stopped').choices([
        'BATCH',
        'PERSISTENT',
      ]),
    )
    .option('--title <text>', 'title (default: image and command)')
    .option('--description <text>', 'description')
    .option('--label <key=value>', 'label (repeatable)', collect)
    .option('--cpu <n>', 'CPUs at least', numberFrom0)
    .option('--ram-gb <n>', 'RAM at least', numberFrom0)
    .option('--storage-gb <n>', 'storage at least', numberFrom0)
    .option('--gpus <n>', 'GPUs', integer)
    .option('--gpu-name <name>', 'GPU model, "RTX 4090" for example (one GPU unless --gpus is given)')
    .option('--gpu-registry-uuid <uuid>', 'GPU model by its uuid in the GPU registry, instead of its name')
    .option('--vram-gb <n>', 'VRAM of each GPU at least (one GPU unless --gpus is given)', numberFrom0)
    .option('--timeout <duration>', 'how long a BATCH job may run, 15m for example (default 1h)', durationMs)
    .option('--start-timeout <duration>', 'how long it may take from placement to start', durationMs)
    .option(
      '--start-timeout-waits-for-pull',
      'the start timeout counts from the last byte of an image that moved, 6h at most in all',
    )
    .option('--assign-timeout <duration>', 'how long it may wait for a node', durationMs)
    .option('--retries <n>', 'how often a failed run is tried again', integer)
    .addOption(
      new Option(
        '--on-node-lost <policy>',
        'a PERSISTENT job whose node is lost or drained: fail, or replace it on another node',
      ).choices(['fail', 'replace']),
    )
    .option('--max-cost <usd>', 'stop it before all its runs together cost more', numberFrom0)
    .option('--renew-within <duration>', 'stop it unless "flotilla job renew" comes this often', durationMs)
    .option(
      '--idle-timeout <duration>',
      'stop it when CPU, GPUs and network are idle for so long',
      durationMs,
    )
    .option('--priority <n>', 'higher goes first; above 0 needs a permission', integer)
    .option('--region <code>', 'region it may run in (repeatable; default: any)', collect);
}

function addContainerOptions(command: Command) {
  command
    .optionsGroup('Container:')
    .option(
      '--env <key=value>',
      'environment variable; KEY alone takes its value from here (repeatable)',
      collect,
    )
    .option('--env-file <file>', 'file with KEY=VALUE lines (repeatable)', collect)
    .option(
      '--port <port>',
      "container port to publish (repeatable; default: the image's EXPOSE list)",
      ports,
    )
    .option('--no-ports', 'publish no port')
    .option('--allow-ip <cidr>', 'address that may connect to the ports (repeatable; default: any)', collect)
    .option(
      '--volume <image=path>',
      'image whose files are copied to a path, team/model:2=/model for example (repeatable)',
      volumes,
    )
    .option('--ssh-key <file>', 'SSH public key that the container gets as SSH_PUBKEY')
    .option('--entrypoint <word>', "instead of the image's entrypoint (repeatable: one word each)", collect)
    .option('--registry-host <host>', 'registry of a private image')
    .option('--registry-user <user>', 'user of that registry')
    .option('--registry-secret-file <file>', 'file with the password or token of that registry')
    .option('--stop-signal <signal>', 'signal that ends it, SIGINT for example (default SIGTERM)')
    .option('--stop-grace <duration>', 'time between that signal and KILL (default 10s)', durationMs);
}

function volumes(text: string, previous: VolumeOption[] = []): VolumeOption[] {
  return [...previous, reader(parseVolume)(text)];
}

async function submitJob(
  cli: Cli,
  input: { source: string | undefined; words: string[] },
  flags: SubmitFlags,
) {
  const { io } = cli;
  const body = await bodyOf(io, input, flags);
  const { idempotencyKey } = flags;
  await cli.withClient(flags, async (client) => {
    const job = await client.jobs.create(body, idempotencyKey ? { idempotencyKey } : {});
    if (flags.wait || flags.follow) {
      printLines(io.stderr, [`Job ${job.uuid}`]);
      cli.exitCode = await followToEnd(cli, { client, uuid: job.uuid, isJson: flags.json ?? false });
      return;
    }
    if (flags.json) return printJson(io, job);
    printLines(io.stdout, [job.uuid]);
    if (io.stderr.isTTY)
      printLines(io.stderr, [`${job.status}. Follow it: flotilla job logs --follow ${job.uuid}`]);
  });
}

async function bodyOf(io: Io, input: { source: string | undefined; words: string[] }, flags: SubmitFlags) {
  const options = await readOptions(io, flags);
  const { source } = input;
  if (flags.file !== undefined) {
    // With --file there is no source: what stands first is part of the command.
    const command = source === undefined ? [] : [source, ...input.words];
    return withOptions(await readBody(io, flags.file), command, options);
  }
  if (source === undefined) {
    throw new UsageError(
      'Say what to run: IMAGE[:TAG], a .json file, or - for JSON on stdin; see "flotilla job submit --help".',
    );
  }
  if (source === '-' || source.endsWith('.json'))
    return withOptions(await readBody(io, source), input.words, options);
  return bodyFromImage(parseImageReference(source), input.words, options);
}

async function readBody(io: Io, file: string): Promise<CreateJobBody> {
  const text = file === '-' ? await readAll(io.stdin) : await readText(file);
  const place = file === '-' ? 'stdin' : file;
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch (error) {
    throw new UsageError(`${place} is not JSON: ${error instanceof Error ? error.message : error}.`, {
      cause: error,
    });
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new UsageError(`${place} must hold one JSON object: the body of "create a job".`);
  }
  // The server checks it whole and names every wrong field.
  return body as CreateJobBody;
}

async function readOptions(io: Io, flags: SubmitFlags): Promise<SubmitOptions> {
  const hasModel = flags.gpuName !== undefined || flags.gpuRegistryUuid !== undefined;
  const needsGpu = hasModel || (flags.vramGb ?? 0) > 0;
  return {
    ...flags,
    gpus: flags.gpus ?? (needsGpu ? 1 : undefined),
    timeoutMs: flags.timeout,
    startTimeoutMs: flags.startTimeout,
    assignTimeoutMs: flags.assignTimeout,
    maxCostUsd: flags.maxCost,
    renewWithinMs: flags.renewWithin,
    idleTimeoutMs: flags.idleTimeout,
    stopGraceMs: flags.stopGrace,
    regions: flags.region,
    ports: flags.ports ? flags.port : [],
    allowedIps: flags.allowIp,
    volumes: flags.volume,
    labels: flags.label && Object.assign({}, ...flags.label.map(parseLabel)),
    env: await readEnvironment(io, flags),
    sshKey: flags.sshKey && checkPublicKey(await readText(flags.sshKey), flags.sshKey),
    registrySecret:
      flags.registrySecretFile && (await readText(flags.registrySecretFile)).replace(/\r?\n$/, ''),
  };
}

/** Files first, in the order given; --env goes over them. */
async function readEnvironment(io: Io, flags: SubmitFlags): Promise<Record<string, string> | undefined> {
  if (!flags.envFile && !flags.env) return undefined;
  const files = await Promise.all((flags.envFile ?? []).map(readText));
  const parts = [
    ...files.map((text) => parseEnvFile(text, io.env)),
    ...(flags.env ?? []).map((it) => parseEnv(it, io.env)),
  ];
  return Object.assign({}, ...parts);
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    throw new UsageError(`Cannot read ${file}: ${isMissing ? 'there is no such file' : error}.`, {
      cause: error,
    });
  }
}

async function readAll(stream: Io['stdin']): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString('utf8');
}
