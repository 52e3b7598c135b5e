// A registry that answers as little as the tests need: its one layer stalls or is slow, or it refuses, or has nothing.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface RegistryOptions {
  /** The layer comes in small pieces, 10 MB a second. */
  isSlow?: boolean;
  /** Between two of them. */
  pieceMs?: number;
  /** Nobody's password is right. */
  isPrivate?: boolean;
}

const config = JSON.stringify({
  architecture: 'amd64',
  os: 'linux',
  config: {},
  rootfs: { type: 'layers', diff_ids: [`sha256:${'0'.repeat(64)}`] },
});
const digestOf = (text: string) => `sha256:${createHash('sha256').update(text).digest('hex')}`;
const layerDigest = digestOf('a layer that never comes whole');

export class FakeRegistry {
  readonly users: string[] = [];
  readonly blobBytes = 50_000_000;
  readonly #options: RegistryOptions;
  readonly #server: Server;
  readonly #asked = Promise.withResolvers<void>();
  readonly #dropped = Promise.withResolvers<void>();

  constructor(options: RegistryOptions) {
    this.#options = options;
    this.#server = createServer((request, response) => this.#answer(request, response));
  }

  async listen(): Promise<this> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return this;
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  untilBlobAsked(): Promise<void> {
    return within(this.#asked.promise, 'the engine to ask for the layer');
  }

  untilBlobDropped(): Promise<void> {
    return within(this.#dropped.promise, 'the engine to drop the layer');
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = request.url ?? '';
    response.setHeader('Docker-Distribution-Api-Version', 'registry/2.0');
    if (this.#options.isPrivate) this.#refuse(request, response);
    else if (path === '/v2/') response.end('{}');
    else if (path.startsWith('/v2/absent/')) notFound(response);
    else if (path.includes('/manifests/')) this.#manifest(response);
    else if (path.endsWith(digestOf(config))) response.end(config);
    else if (path.includes('/blobs/')) this.#blob(response);
    else notFound(response);
  }

  #refuse(request: IncomingMessage, response: ServerResponse): void {
    const [, credentials] = (request.headers.authorization ?? '').split(' ');
    const user =
      Buffer.from(credentials ?? '', 'base64')
        .toString()
        .split(':')[0] ?? '';
    if (user !== '' && !this.users.includes(user)) this.users.push(user);
    response.writeHead(401, { 'WWW-Authenticate': 'Basic realm="test"', 'Content-Type': 'application/json' });
    response.end(JSON.stringify({ errors: [{ code: 'UNAUTHORIZED', message: 'authentication required' }] }));
  }

  #manifest(response: ServerResponse): void {
    const body = JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.docker.distribution.manifest.v2+json',
      config: {
        mediaType: 'application/vnd.docker.container.image.v1+json',
        size: config.length,
        digest: digestOf(config),
      },
      layers: [
        {
          mediaType: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
          size: this.blobBytes,
          digest: layerDigest,
        },
      ],
    });
    response.setHeader('Docker-Content-Digest', digestOf(body));
    response.setHeader('Content-Length', Buffer.byteLength(body));
    response.setHeader('Content-Type', 'application/vnd.docker.distribution.manifest.v2+json');
    response.end(body);
  }

  #blob(response: ServerResponse): void {
    this.#asked.resolve();
    response.on('close', () => this.#dropped.resolve());
    response.writeHead(200, { 'Content-Length': this.blobBytes });
    response.write(Buffer.alloc(100_000));
    if (!this.#options.isSlow) return;
    const { pieceMs = 100 } = this.#options;
    const timer = setInterval(() => response.write(Buffer.alloc(10_000 * pieceMs)), pieceMs);
    response.on('close', () => clearInterval(timer));
  }
}

async function within(promise: Promise<void>, what: string): Promise<void> {
  const limit = AbortSignal.timeout(10_000);
  const late = once(limit, 'abort').then(() => {
    throw new Error(`waited in vain for ${what}`);
  });
  await Promise.race([promise, late]);
}

function notFound(response: ServerResponse): void {
  response.writeHead(404, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify({ errors: [{ code: 'MANIFEST_UNKNOWN', message: 'manifest unknown' }] }));
}
