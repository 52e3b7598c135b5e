// Files streams: a path of the container as a tar, out or in.
import { pipeline } from 'node:stream/promises';
import type { DataStream } from '../ingress/data-stream.ts';
import { type FilesRequest, filesWritten } from '../protocol/data-streams.ts';
import type { StreamHandler } from './tunnel.ts';
import { type DoorStreamDeps, refusalOf, runNotHere } from './tunnel-exec.ts';

export function fileStreams(deps: DoorStreamDeps): StreamHandler {
  return (stream, opening) => {
    const run = deps.findRun(opening.runUuid);
    if (run === null) return stream.refuse(runNotHere);
    // The server checked what is in it.
    const request = opening.request as FilesRequest;
    const place = { containerId: run.containerId, path: request.path };
    void (request.operation === 'read' ? read(stream, place, deps) : write(stream, place, deps));
  };
}

interface Place {
  containerId: string;
  path: string;
}

async function read(
  stream: DataStream,
  { containerId, path }: Place,
  { door, log }: DoorStreamDeps,
): Promise<void> {
  try {
    const tar = await door.readTree(containerId, path);
    if (stream.destroyed) {
      tar.destroy();
      return;
    }
    stream.accept();
    // The server says nothing but its end, which frees the connection.
    stream.resume();
    // A tar that breaks off destroys the stream: half of one never looks whole.
    await pipeline(tar, stream, { end: true }).catch(() => stream.destroy());
  } catch (error) {
    stream.refuse(refusalOf(error, log));
  }
}

/** What can be known before is refused; what goes wrong after the bytes began is said at the end. */
async function write(
  stream: DataStream,
  { containerId, path }: Place,
  { door, log }: DoorStreamDeps,
): Promise<void> {
  try {
    await door.requireFolder(containerId, path);
  } catch (error) {
    return stream.refuse(refusalOf(error, log));
  }
  if (stream.destroyed) return;
  const closed = new AbortController();
  stream.once('close', () => closed.abort());
  stream.accept();
  try {
    await door.writeTree(containerId, path, stream, closed.signal);
    stream.end(filesWritten);
  } catch (error) {
    stream.resume();
    // A server that went away hears nothing.
    if (!closed.signal.aborted && stream.writable) stream.end(refusalOf(error, log).message);
  }
}
