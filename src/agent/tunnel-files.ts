// Files streams: a path of the container as a tar, out or in.
import { constants, type ServerHttp2Stream } from 'node:http2';
import { pipeline } from 'node:stream/promises';
import { type FilesRequest, filesWritten } from '../protocol/data-streams.ts';
import { refuse, type StreamHandler } from './tunnel.ts';
import { type DoorStreamDeps, readRequest, refusalOf, runNotHere, unreadable } from './tunnel-exec.ts';

export function fileStreams(deps: DoorStreamDeps): StreamHandler {
  return (stream, { target, headers }) => {
    const run = deps.findRun(target.runUuid);
    const request = readRequest<FilesRequest>(headers);
    if (run === null || request === null) return refuse(stream, run === null ? runNotHere : unreadable);
    const place = { containerId: run.containerId, path: request.path };
    void (request.operation === 'read' ? read(stream, place, deps) : write(stream, place, deps));
  };
}

interface Place {
  containerId: string;
  path: string;
}

async function read(
  stream: ServerHttp2Stream,
  { containerId, path }: Place,
  { door, log }: DoorStreamDeps,
): Promise<void> {
  try {
    const tar = await door.readTree(containerId, path);
    if (stream.destroyed) {
      tar.destroy();
      return;
    }
    stream.respond({ ':status': 200 });
    // Unread input would make the end of ours a reset, which may overtake what the server has not read yet.
    stream.resume();
    await pipeline(tar, stream);
  } catch (error) {
    // Without an error code half a tar would look like a whole one.
    if (stream.headersSent) stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    else refuse(stream, refusalOf(error, log));
  }
}

/** What can be known before is refused; what goes wrong after the bytes began is said at the end. */
async function write(
  stream: ServerHttp2Stream,
  { containerId, path }: Place,
  { door, log }: DoorStreamDeps,
): Promise<void> {
  try {
    await door.requireFolder(containerId, path);
  } catch (error) {
    return refuse(stream, refusalOf(error, log));
  }
  if (stream.destroyed) return;
  const closed = new AbortController();
  stream.once('close', () => closed.abort());
  stream.respond({ ':status': 200 });
  try {
    await door.writeTree(containerId, path, stream, closed.signal);
    stream.end(filesWritten);
  } catch (error) {
    stream.resume();
    // A server that went away hears nothing.
    if (!closed.signal.aborted && stream.writable) stream.end(refusalOf(error, log).message);
  }
}
