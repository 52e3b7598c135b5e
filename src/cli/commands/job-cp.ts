// `flotilla job cp`: files and folders out of the container of a running job, and into it.
import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, posix, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { pack } from 'tar-stream';
import type { Client } from '../../sdk/client.ts';
import { ApiError } from '../../sdk/errors.ts';
import { type Cli, untilInterrupted } from '../cli.ts';
import { countBytes, createCopyProgress } from '../copy-progress.ts';
import { UsageError } from '../errors.ts';
import { exitCodes } from '../exit-code.ts';
import { rawStreams } from '../io.ts';
import { type ConnectionFlags, withConnectionOptions } from '../options.ts';
import { printLines } from '../output.ts';
import { resolveJob, runInUse } from '../resolve.ts';
import { type ExtractTarget, extractTree } from '../tar-extract.ts';
import { packTree } from '../tar-pack.ts';
import { onOneLine } from '../text-width.ts';

interface CopyFlags extends ConnectionFlags {
  run?: string;
}

const help = `
Into a folder that exists the copy goes by its own name; else it gets the name of the destination, whose folder must
exist. "JOB:/folder/." means what lies in the folder. "-" is a tar on standard input or output. Links that lead out of
what is copied are left out, and said.

Examples:
  flotilla job cp UUID:/results .
  flotilla job cp model.bin UUID:/models/
  flotilla job cp UUID:/var/log - | tar t
  tar c data | flotilla job cp - UUID:/tmp`;

export function addJobCp(job: Command, cli: Cli) {
  const command = job
    .command('cp')
    .description('Copies files and folders out of the container of a running job, or into it.')
    .argument('<source>', 'a local path or JOB:/path; - for a tar on standard input')
    .argument('<destination>', 'JOB:/path or a local path; - for a tar on standard output')
    .option('--run <run>', 'uuid of a run, or its attempt: 1, 2, …')
    .addHelpText('after', help);
  withConnectionOptions(command).action((source: string, destination: string, flags: CopyFlags) =>
    copy(cli, { source, destination, flags }),
  );
}

interface Place {
  job: string;
  path: string;
}

async function copy(
  cli: Cli,
  { source, destination, flags }: { source: string; destination: string; flags: CopyFlags },
) {
  const from = placeIn(source);
  const to = placeIn(destination);
  if ((from === null) === (to === null)) {
    throw new UsageError(
      'One of source and destination must be JOB:/path, with an absolute path, and the other a local path.',
    );
  }
  const done = await untilInterrupted(cli.io, (signal) =>
    cli.withClient(flags, async (client) => {
      const place = from ?? to;
      const uuid = (await runInUse(client, await resolveJob(client, place?.job ?? ''), flags.run)).uuid;
      const work = { cli, client, uuid, signal };
      if (from !== null) await download(work, from.path, destination);
      else if (to !== null) await upload(work, source, to.path);
      return true;
    }),
  );
  if (done === null) cli.exitCode = exitCodes.interrupted;
}

/** null: a local path. */
function placeIn(text: string): Place | null {
  const match = /^([0-9a-fA-F-]{6,36}):(\/.*)$/.exec(text);
  return match === null ? null : { job: match[1] ?? '', path: match[2] ?? '' };
}

interface Work {
  cli: Cli;
  client: Client;
  /** Of the run. */
  uuid: string;
  signal: AbortSignal;
}

async function download({ cli, client, uuid, signal }: Work, path: string, destination: string) {
  const target = destination === '-' ? null : await targetOf(path, destination);
  const tar = await client.runs.readFiles(uuid, path, { signal });
  const progress = createCopyProgress(cli.io);
  const counted = countBytes((bytes) => progress.show(bytes, null));
  try {
    if (target === null) {
      await pipeline(tar, counted, rawStreams().stdout, { end: false });
      return;
    }
    const reading = pipeline(tar, counted);
    reading.catch((error) => counted.destroy(error));
    const { skipped } = await extractTree(counted, target);
    await reading;
    progress.clear();
    tellSkipped(cli, skipped);
  } finally {
    progress.clear();
    tar.destroy();
  }
}

async function targetOf(path: string, destination: string): Promise<ExtractTarget> {
  const name = nameOf(path);
  const local = resolve(destination);
  const isFolder = await isLocalFolder(local);
  if (isFolder && name === null) return { root: await realpath(local), prefix: null };
  if (isFolder) return { root: join(await realpath(local), name ?? ''), prefix: name };
  if (destination.endsWith('/')) throw new UsageError(`${destination} is not a folder.`);
  if (!(await isLocalFolder(dirname(local)))) {
    throw new UsageError(`Cannot copy to ${destination}: there is no folder ${dirname(local)}.`);
  }
  return { root: join(await realpath(dirname(local)), basename(local)), prefix: name };
}

/** Of what is copied; null: what lies in the folder. */
function nameOf(path: string): string | null {
  return path.endsWith('/.') ? null : posix.basename(posix.normalize(path)) || null;
}

async function isLocalFolder(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => null);
  return found?.isDirectory() ?? false;
}

async function upload(work: Work, source: string, path: string) {
  const { cli, client, uuid, signal } = work;
  const progress = createCopyProgress(cli.io);
  const options = { signal, onProgress: progress.show };
  try {
    if (source === '-') {
      await client.runs.writeFiles(uuid, path, Readable.from(rawStreams().stdin), options);
      return;
    }
    const isContents = source.endsWith('/.');
    // Looked at first, so that a wrong path is told before the copy begins.
    const { name, folder } = isContents
      ? { name: null, folder: path }
      : await uploadTarget(work, source, path);
    const { tar, skipped } = await packTree(resolve(source), name);
    await client.runs.writeFiles(uuid, folder, tar, options);
    progress.clear();
    tellSkipped(cli, skipped);
  } finally {
    progress.clear();
  }
}

/** An empty tar asks whether the path is a folder; else the copy is to have its name. */
async function uploadTarget({ client, uuid, signal }: Work, source: string, path: string) {
  const local = await stat(resolve(source)).catch((cause: unknown) => {
    throw new UsageError(`Cannot read ${source}: there is no such file or folder.`, { cause });
  });
  const nothing = pack();
  nothing.finalize();
  try {
    await client.runs.writeFiles(uuid, path, Readable.from(nothing), { signal });
    return { folder: path, name: basename(resolve(source)) };
  } catch (error) {
    const isNoFolder = error instanceof ApiError && (error.status === 404 || error.status === 409);
    const name = nameOf(path);
    const isFileOverFile = isNoFolder && (error.status === 404 || !local.isDirectory());
    if (!isFileOverFile || name === null || path.endsWith('/')) throw error;
    return { folder: posix.dirname(posix.normalize(path)), name };
  }
}

const shownSkips = 20;

function tellSkipped({ io }: Cli, skipped: readonly string[]) {
  const lines = skipped.slice(0, shownSkips).map((line) => `left out ${onOneLine(line)}`);
  const more = skipped.length - lines.length;
  printLines(io.stderr, more > 0 ? [...lines, `left out ${more} more`] : lines);
}
