// The errors of the client: what the server refused, and a server that cannot be reached.

/** The server answered with an error; `code` is from its catalogue (`http_502` and the like when it sent none). */
export class ApiError extends Error {
  override name = 'ApiError';
  readonly status: number;
  readonly code: string;
  readonly details: unknown;
  readonly requestId: string | undefined;

  constructor(answer: { status: number; text: string }) {
    const error = errorOf(answer.text);
    super(error?.message ?? `The server answered ${answer.status}: ${answer.text.slice(0, 300)}`);
    this.status = answer.status;
    this.code = error?.code ?? `http_${answer.status}`;
    this.details = error?.details;
    this.requestId = error?.request_id;
  }
}

/** No answer came: connection refused, name unknown, certificate not trusted, or the time was up. */
export class ConnectionError extends Error {
  override name = 'ConnectionError';
  /** False where trying again cannot help. */
  readonly isTransient: boolean;

  constructor(url: string, cause: unknown) {
    const code = codeOf(cause);
    const isCertificate = /CERT|SIGNATURE|ISSUER|ALTNAME/.test(code);
    super(`Cannot reach Flotilla at ${url}: ${reasonOf(cause, code)}. ${isCertificate ? trust : start}`, {
      cause,
    });
    this.isTransient = !isCertificate;
  }
}

const start = 'Is the server running? Start it with `npm start`.';
const trust = "Give the certificate of the server's authority as `ca`.";

const reasons: Record<string, string> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'the connection was cut',
  EPIPE: 'the connection was cut',
  ENOTFOUND: 'the host name is unknown',
  EAI_AGAIN: 'the host name cannot be looked up',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'no route to the host',
  ETIMEDOUT: 'no answer in time',
  TIMEOUT: 'no answer in time',
};

function reasonOf(cause: unknown, code: string): string {
  return (
    reasons[code] ?? (cause instanceof Error && cause.message !== '' ? cause.message : 'connection failed')
  );
}

function codeOf(cause: unknown): string {
  if (!(cause instanceof Error)) return '';
  if (cause.name === 'TimeoutError') return 'TIMEOUT';
  return 'code' in cause && typeof cause.code === 'string' ? cause.code : '';
}

type ErrorParts = { code: string; message: string; details?: unknown; request_id?: string };

function errorOf(text: string): ErrorParts | undefined {
  try {
    const body = JSON.parse(text) as { error?: Partial<ErrorParts> } | null;
    const error = body?.error;
    if (typeof error?.code !== 'string' || typeof error.message !== 'string') return undefined;
    return { ...error, code: error.code, message: error.message };
  } catch {
    return undefined;
  }
}
