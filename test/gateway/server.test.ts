// A whole server with certificate and load balancer, before an agent's own tunnel: what clients are told, let through and shown.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { systemClock } from '../../src/agent/clock.ts';
import { Tunnel } from '../../src/agent/tunnel.ts';
import { portStreams } from '../../src/agent/tunnel-port.ts';
import { makeSelfSigned } from '../../src/cli/self-signed.ts';
import { defaultGatewaySettings } from '../../src/main/gateway-settings.ts';
import type { DesiredRun, RunEvent } from '../../src/protocol/agent-messages.ts';
import type { JobRun } from '../../src/protocol/job-run.ts';
import type { Node } from '../../src/protocol/node.ts';
import { HandAgent } from '../support/agent.ts';
import { aJob, anInventory } from '../support/builders.ts';
import { eventually, startTestServer } from '../support/server.ts';
import { dial, ending, readAll, startProgram } from './support/rig.ts';

const host = '127.0.0.6';
const folder = mkdtempSync(join(tmpdir(), 'flotilla-gateway-'));
const files = { certFile: join(folder, 'cert.pem'), keyFile: join(folder, 'key.pem') };
const { certPem, keyPem } = makeSelfSigned(['jobs.example'], { nowMs: Date.now(), days: 1 });
writeFileSync(files.certFile, certPem);
writeFileSync(files.keyFile, keyPem);

const balanced = {
  tls: files,
  hasProxyProtocol: true,
  listenHost: host,
  ports: { from: 21_020, to: 21_023 },
};
const server = await startTestServer({
  trustedProxies: ['127.0.0.0/8'],
  gateway: { ...defaultGatewaySettings, ...balanced, hostname: 'jobs.example' },
});
const { admin, database } = server;
const program = await startProgram((socket) => void socket.pipe(socket));
const { agent, tunnel } = await aNode();
after(async () => {
  isOver = true;
  tunnel.close();
  agent.close();
  await program.close();
  rmSync(folder, { recursive: true });
});

/** Control by hand, data by the agent's own code; every run is the one program. */
async function aNode(): Promise<{ agent: HandAgent; tunnel: Tunnel }> {
  const body = { name: 'node-1' };
  type Registered = Node & { key: { public_key: string; secret_key: string } };
  const { key } = await admin.ask<Registered>('POST', '/v1/nodes', { body });
  const client = server.client({ publicKey: key.public_key, secretKey: key.secret_key });
  const agent = await HandAgent.dial(client);
  await agent.greet({ inventory: anInventory() });
  const warn = (_fields: object, message: string) => assert.fail(message);
  const containerPorts = { containerId: 'c', publishedPorts: [program.port, 22] };
  const tunnel = new Tunnel({
    servers: { all: [server.url] },
    signHeaders: (method, path) => client.sign(method, path),
    onServerTime: () => {},
    log: { debug() {}, info() {}, warn, error: warn },
    handlers: {
      port: portStreams({
        runtime: { containerAddress: () => Promise.resolve({ address: '127.0.0.1', isHealthy: null }) },
        clock: systemClock,
        findRun: () => containerPorts,
      }),
    },
  });
  return { agent, tunnel };
}

const running: RunEvent = {
  ...{ kind: 'running', started_ms_ago: 0, image_digest: null, image_size_bytes: null },
  ports: [program.port, 22],
};

async function aRunningRun(container: Record<string, unknown> = {}): Promise<DesiredRun> {
  const { uuid } = await admin.createJob(aJob({ container }));
  for (;;) {
    const [run] = (await agent.next('desired')).runs;
    if (run?.job_uuid !== uuid) continue;
    await agent.report(run, running);
    return run;
  }
}

const runOf = ({ run_uuid }: DesiredRun) => admin.ask<JobRun>('GET', `/v1/job-runs/${run_uuid}`);

let isOver = false;

async function carryDials(): Promise<void> {
  while (!isOver)
    await agent.next('dial', 200).then(
      (message) => tunnel.dial(message),
      () => {},
    );
}

function isOpen(port: number): Promise<boolean> {
  return dial(port, host).then(
    (socket) => socket.destroy().destroyed,
    () => false,
  );
}

/** A connection that the load balancer passes on for `source`. */
async function through(port: number, source: string): Promise<Socket> {
  const socket = await dial(port, host);
  socket.write(`PROXY TCP4 ${source} 10.0.0.1 40000 443\r\n`);
  return socket;
}

test('tokens are sealed at rest, and Stop takes tokens and ports in its own transaction', async () => {
  const run = await aRunningRun();
  const [{ token } = { token: '' }] = (await runOf(run)).container_access_tokens;
  assert.equal(run.container?.env.CONTAINER_ACCESS_TOKEN, token);
  const [stored] = await database.query<{ row: string; sealed: Buffer }>(
    'select r::text as row, token_sealed as sealed from job_runs r where id = $1',
    [run.run_uuid],
  );
  assert.ok(stored && stored.sealed.length > token.length && token.length >= 20);
  assert.ok(!stored.sealed.includes(token) && !stored.row.includes(token));

  await admin.ask('PUT', `/v1/jobs/${run.job_uuid}/cancel`);
  const [after] = await database.query(
    `select array(select distinct x from unnest(array[j.xmin::text, r.xmin::text] ||
        array(select g.xmin::text from gateway_ports g where g.run_id = r.id)) x) as transactions,
      r.token_sealed, r.ports, (select count(*)::integer from gateway_ports g where g.run_id = r.id) as held,
      (select count(*)::integer from gateway_ports g where g.run_id = r.id and g.is_open) as open
    from job_runs r join jobs j on j.id = r.job_id where r.id = $1`,
    [run.run_uuid],
  );
  const { transactions, ...rest } = after as { transactions: string[] };
  assert.equal(transactions.length, 1, 'job, run and ports were written by one transaction');
  assert.deepEqual(rest, { token_sealed: null, ports: [], held: 2, open: 0 });
});

test('behind a balancer TLS ends at the gateway, for whom allowed_ips names; others are counted', async () => {
  const run = await aRunningRun({ allowed_ips: ['192.0.2.0/24'] });
  const { node_urls: urls } = await runOf(run);
  assert.deepEqual(
    urls.map(({ description, hostname, tls }) => [description, hostname, tls]),
    [
      [String(program.port), 'jobs.example', true],
      ['ssh', 'jobs.example', false],
    ],
  );
  const port = urls[0]?.port ?? 0;
  void carryDials();
  await eventually('the port to be open', () => isOpen(port));
  const secure = tlsConnect({
    socket: await through(port, '192.0.2.7'),
    servername: 'jobs.example',
    ca: certPem,
  });
  await once(secure, 'secureConnect');
  secure.end('over TLS');
  assert.equal(String(await readAll(secure)), 'over TLS');
  await ending(await through(port, '198.51.100.7'));
  await eventually(
    'the refusal to be counted',
    async () => (await runOf(run)).refused_connection_count === 1,
  );
});
