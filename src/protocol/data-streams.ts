// Streams of data connections: what the server asks an agent to reach, and how the agent says no.

/** `port`: TCP to a container port. `exec` and `files`: programs and file trees inside a run's container. */
export const streamKinds = ['port', 'exec', 'files'] as const;
export type StreamKind = (typeof streamKinds)[number];

/** Reading a path answers its tar; writing takes a tar until its end, and answers `filesWritten` or what went wrong. */
export interface FilesRequest {
  operation: 'read' | 'write';
  path: string;
}

/** Said when all files are in their place: an answer without it is a failure. */
export const filesWritten = 'written';

/** Pings keep the line open in NATs and find peers that went away without a word. */
export const dataPingMs = 20_000;
/** Beyond this without a byte from the other end the line is dead. */
export const dataSilenceMs = 3 * dataPingMs;
/** The agent tries a container port that does not listen yet for this long. */
export const portPatienceMs = 10_000;

/** The first frame of a stream. */
export interface StreamOpening {
  kind: StreamKind;
  runUuid: string;
  /** Of the container; 0 where the kind has none. */
  port: number;
  /** What an exec or files stream is to do. */
  request?: unknown;
}

export interface StreamRefusal {
  status: number;
  code: string;
  message: string;
}

/** null: not an opening of ours. */
export function parseOpening(payload: Uint8Array): StreamOpening | null {
  const { kind, runUuid, port, request } = parseObject(payload);
  const known = streamKinds.find((word) => word === kind);
  if (known === undefined || typeof runUuid !== 'string' || !Number.isInteger(port)) return null;
  return { kind: known, runUuid, port: Number(port), request };
}

export function parseRefusal(payload: Uint8Array): StreamRefusal {
  const { status, code, message } = parseObject(payload);
  return {
    status: Number(status) || 502,
    code: String(code ?? 'refused'),
    message: String(message ?? 'The agent refused the stream.').slice(0, 1024),
  };
}

function parseObject(payload: Uint8Array): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(payload));
    return typeof value === 'object' && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}
