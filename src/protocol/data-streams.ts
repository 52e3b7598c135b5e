// Streams of a data connection: each is one HTTP/2 CONNECT from the server to the agent; its headers say what it is to reach.

/** `port`: TCP to a container port. `exec` and `files`: programs and file trees inside a run's container. */
export const streamKinds = ['port', 'exec', 'files'] as const;
export type StreamKind = (typeof streamKinds)[number];

/** Absent means `port`. */
export const kindHeader = 'flotilla-kind';
/** On a refusal (status 400 and above): a stable code, and a sentence in encodeURIComponent. */
export const refusalCodeHeader = 'flotilla-code';
export const refusalMessageHeader = 'flotilla-message';

/** What an exec or files stream is to do: JSON in encodeURIComponent. */
export const requestHeader = 'flotilla-request';

/** Reading a path answers its tar; writing takes a tar until its end, and answers `filesWritten` or what went wrong. */
export interface FilesRequest {
  operation: 'read' | 'write';
  path: string;
}

/** Said when all files are in their place: an answer without it is a failure. */
export const filesWritten = 'written';

/**
 * Bytes of one stream that its receiver holds unread at most. More is faster over long ways (3 MB/s a stream at 50 ms there
 * and back), less is what a stalled reader costs: 500 of them stay below 200 MB.
 */
export const streamWindowBytes = 160 * 1024;
/** All streams together must not wait for one round trip per 64 KiB; receivers give this window back at once. */
export const connectionWindowBytes = 64 * 1024 * 1024;
/** Of one HTTP/2 session in MiB; beyond it new streams would be refused because of old ones that stall. */
export const sessionMemoryMib = 1024;
export const maxStreamsPerSession = 20_000;
/** Pings keep the line open in NATs and find peers that went away without a word. */
export const dataPingMs = 20_000;
/** The agent tries a container port that does not listen yet for this long. */
export const portPatienceMs = 10_000;

export interface StreamTarget {
  kind: StreamKind;
  runUuid: string;
  /** Of the container; 0 where the kind has none. */
  port: number;
}

export interface StreamRefusal {
  status: number;
  code: string;
  message: string;
}

/** Headers of the CONNECT request (RFC 9113, 8.5); `extra` names are lower case. */
export function streamHeaders(
  { kind, runUuid, port }: StreamTarget,
  extra: Readonly<Record<string, string>> = {},
): Record<string, string> {
  return { ':method': 'CONNECT', ':authority': `${runUuid}:${port}`, [kindHeader]: kind, ...extra };
}

/** null: not a stream of ours. */
export function parseStreamTarget(headers: Readonly<Record<string, unknown>>): StreamTarget | null {
  const kind = streamKinds.find((word) => word === (headers[kindHeader] ?? 'port'));
  const match = /^([0-9a-f-]{36}):(\d{1,5})$/.exec(String(headers[':authority'] ?? ''));
  if (headers[':method'] !== 'CONNECT' || kind === undefined || match === null) return null;
  const [, runUuid = '', port = ''] = match;
  return { kind, runUuid, port: Number(port) };
}

export function refusalHeaders({ status, code, message }: StreamRefusal): Record<string, string | number> {
  return {
    ':status': status,
    [refusalCodeHeader]: code,
    [refusalMessageHeader]: encodeURIComponent(message.slice(0, 1024)),
  };
}

/** null: the stream was accepted. */
export function parseRefusal(headers: Readonly<Record<string, unknown>>): StreamRefusal | null {
  const status = Number(headers[':status']);
  if (status === 200) return null;
  const code = String(headers[refusalCodeHeader] ?? 'refused');
  return { status, code, message: readSentence(String(headers[refusalMessageHeader] ?? '')) };
}

function readSentence(encoded: string): string {
  try {
    return decodeURIComponent(encoded) || 'The agent refused the stream.';
  } catch {
    return 'The agent refused the stream.';
  }
}
