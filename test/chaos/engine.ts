// A Docker Engine asked past Flotilla, over its socket; its image of busybox.
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, symlinkSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);
const askLimitMs = 4_000;

/** The parsed answer of `GET path`. */
export async function askEngine<T>(socketPath: string, path: string): Promise<T> {
  return JSON.parse(await callEngine(socketPath, 'GET', path)) as T;
}

/** The body of the answer; rejects for every status that is no success. */
export function callEngine(
  socketPath: string,
  method: 'GET' | 'POST' | 'DELETE',
  path: string,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(askLimitMs);
    const request = http.request({ socketPath, method, path, signal }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        const isDone = (response.statusCode ?? 500) < 300;
        if (isDone) resolve(text);
        else reject(new Error(`${method} ${path}: ${response.statusCode} ${text}`));
      });
    });
    request.on('error', reject);
    request.end();
  });
}

export interface EngineEvent {
  Action: string;
  Actor: { ID: string; Attributes: Record<string, string> };
  timeNano: number;
}

/** Calls `onEvent` for each event of containers until the engine goes away or `signal` aborts. */
export function followEvents(
  socketPath: string,
  {
    sinceSeconds,
    onEvent,
    signal,
  }: {
    sinceSeconds: number;
    onEvent: (event: EngineEvent) => void;
    signal: AbortSignal;
  },
): Promise<void> {
  const filters = encodeURIComponent(JSON.stringify({ type: ['container'] }));
  const path = `/events?since=${sinceSeconds}&filters=${filters}`;
  return new Promise((resolve) => {
    const request = http.get({ socketPath, path, signal }, (response) => {
      let rest = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        const lines = (rest + text).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) if (line.trim() !== '') onEvent(JSON.parse(line) as EngineEvent);
      });
      response.on('close', resolve);
      response.on('error', () => resolve());
    });
    request.on('error', () => resolve());
  });
}

/** The file tree of the image busybox, made in `folder` once for every engine. */
export async function makeBusyboxTree(folder: string): Promise<string> {
  for (const name of ['bin', 'tmp', 'etc']) mkdirSync(join(folder, name), { recursive: true });
  const { stdout: program } = await execute('which', ['busybox']);
  cpSync(program.trim(), join(folder, 'bin', 'busybox'));
  const { stdout: applets } = await execute(program.trim(), ['--list']);
  for (const applet of applets.split('\n').filter((name) => name !== '' && name !== 'busybox'))
    symlinkSync('busybox', join(folder, 'bin', applet));
  const archive = `${folder}.tar`;
  await execute('tar', ['-C', folder, '-cf', archive, '.']);
  return archive;
}

export async function importImage(socketPath: string, archive: string): Promise<void> {
  const settings = ['-c', 'CMD ["/bin/sh"]', '-c', 'ENV PATH=/bin'];
  await execute('docker', ['-H', `unix://${socketPath}`, 'import', ...settings, archive, 'busybox:latest'], {
    timeout: 60_000,
  });
}
