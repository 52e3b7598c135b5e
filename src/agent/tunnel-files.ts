// Files streams: a path of the container as a tar, out or in.
import type { ServerHttp2Stream } from 'node:http2';
import { pipeline } from 'node:stream/promises';
import type { FilesRequest } from '../protocol/data-streams.ts';
import { refuse, type StreamHandler } from './tunnel.ts';
import { type DoorStreamDeps, readRequest, refusalOf, runNotHere } from './tunnel-exec.ts';

export function fileStreams(deps: DoorStreamDeps): StreamHandler {
  return (stream, { target, headers }) => {
    const run = deps.findRun(target.runUuid);
    if (run === null) return refuse(stream, runNotHere);
    const { operation, path } = readRequest<FilesRequest>(headers);
    const place = { containerId: run.containerId, path };
    void (operation === 'read' ? read(stream, place, deps) : write(stream, place, deps));
  };
}

interface Place {
  containerId: string;
  path: string;
}

async function read(
  stream: ServerHttp2Stream,
  { containerId, path }: Place,
  { door }: DoorStreamDeps,
): Promise<void> {
  try {
    const tar = await door.readTree(containerId, path);
    stream.respond({ ':status': 200 });
    await pipeline(tar, stream);
  } catch (error) {
    if (stream.headersSent) stream.destroy();
    else refuse(stream, refusalOf(error));
  }
}

/** Accepted at once, since the bytes come after the answer; what goes wrong is said at the end. */
async function write(
  stream: ServerHttp2Stream,
  { containerId, path }: Place,
  { door }: DoorStreamDeps,
): Promise<void> {
  stream.respond({ ':status': 200 });
  try {
    await door.writeTree(containerId, path, stream);
    stream.end();
  } catch (error) {
    stream.resume();
    stream.end(refusalOf(error).message);
  }
}
