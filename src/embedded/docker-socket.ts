// Plain requests to the Docker API over its unix socket, each with a time limit.

import { request } from 'node:http';

export type DockerAnswer = { status: number; body: string };

type DockerRequest = {
  socketPath: string;
  method: 'GET' | 'POST';
  path: string;
  /** A tar, for imports. */
  content?: Buffer;
  limitMs: number;
};

export function askDocker(options: DockerRequest): Promise<DockerAnswer> {
  const { socketPath, method, path, content, limitMs } = options;
  return new Promise((resolve, reject) => {
    const call = request({
      socketPath,
      method,
      path,
      signal: AbortSignal.timeout(limitMs),
      headers: { host: 'docker', ...(content === undefined ? {} : { 'content-type': 'application/x-tar' }) },
    });
    call.on('error', reject);
    call.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
      );
    });
    call.end(content);
  });
}

/** True when a Docker Engine (or Podman's service) answers there. */
export async function isDockerAlive(socketPath: string, limitMs = 2_000): Promise<boolean> {
  try {
    const { status } = await askDocker({ socketPath, method: 'GET', path: '/_ping', limitMs });
    return status === 200;
  } catch {
    return false;
  }
}
