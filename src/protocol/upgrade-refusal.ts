// The refusal of an upgrade as an HTTP answer: the API's error envelope, then the end of the connection.

interface Refusal {
  status: number;
  code: string;
  message: string;
  details?: unknown;
}

/** Takes a refusal, an error that carries one, or any other error, which is ours. */
export function upgradeRefusal(reason: unknown): string {
  const { status, ...error } = refusalOf(reason);
  const body = JSON.stringify({ error: { ...error, request_id: '' } });
  return `HTTP/1.1 ${status} Refused\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`;
}

function refusalOf(reason: unknown): Refusal {
  const { status, code, message, details } = reason as Partial<Refusal>;
  if (typeof status !== 'number' || typeof code !== 'string') {
    return {
      status: 503,
      code: 'unavailable',
      message: 'The upgrade cannot be checked right now; try again.',
    };
  }
  return { status, code, message: message ?? code, ...(details === undefined ? {} : { details }) };
}
