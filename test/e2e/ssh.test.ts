// SSH into a job with the real OpenSSH client, and which ports of a container are published at all.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { CreateJobBody, NodeUrl } from '../../src/protocol/job.ts';
import type { Client } from '../../src/sdk/client.ts';
import { importReferenceImages, sshBaseImage } from '../support/images/reference-images.ts';
import { modelsAnswer } from '../support/images/root-files.ts';
import { containersOf, docker, needsDocker } from './support/docker.ts';
import { eventually } from './support/eventually.ts';
import { clientAddress, createLab, type Lab, serverAddress } from './support/lab.ts';
import { makeSshKey, OpenSsh, type SshKey } from './support/open-ssh.ts';
import { createPlace, onlyRunOf, type Place, untilStatus } from './support/place.ts';
import { aService, readyUrlOf, urlOf } from './support/reference-jobs.ts';
import { aFreePort, tryTcp } from './support/tcp.ts';

type Container = CreateJobBody['parameters']['parameters'];

/** Lives through its whole grace, so that what ends before is ended by the gateway. */
const ignoringTerm = ['sh', '-c', 'trap "" TERM; while :; do sleep 1; done'];

const descriptionsOf = (urls: readonly NodeUrl[]) => urls.map(({ description }) => description);
const hashOf = (content: Buffer) => createHash('sha256').update(content).digest('hex');

describe('on one machine', needsDocker, () => {
  let place: Place;
  let client: Client;
  let key: SshKey;
  let jobUuid: string;
  let ssh: OpenSsh;

  before(async () => {
    if (needsDocker.skip) return;
    importReferenceImages();
    place = createPlace();
    await place.up();
    client = place.client();
    key = makeSshKey(place.folder);
  });
  after(() => place?.remove());

  const submit = async (container: Partial<Container>) => {
    const { uuid } = await client.jobs.create(aService({ ...sshBaseImage, ...container }));
    return uuid;
  };

  test('a RUNNING job with an SSH key shows where to log in, ssh last', async () => {
    jobUuid = await submit({ sshkey: key.publicKey, command: ignoringTerm });
    const job = await untilStatus(client, jobUuid, 'RUNNING');
    assert.deepEqual(descriptionsOf(job.node_urls), ['5000', 'ssh'], 'the EXPOSE list, ssh last');
    const run = await onlyRunOf(client, jobUuid);
    assert.deepEqual(
      run.node_urls.map(({ port }) => port),
      job.node_urls.map(({ port }) => port),
      'job and run say the same',
    );
    const { hostname, port, protocol, tls } = urlOf(job.node_urls, 'ssh');
    assert.deepEqual({ hostname, protocol, tls }, { hostname: '127.0.0.1', protocol: 'tcp', tls: false });
    assert.ok(port >= 20_000 && port <= 29_999, `port ${port}`);
  });

  test('OpenSSH logs in as duser, having checked the published host key', async (t) => {
    ssh = await OpenSsh.open(await readyUrlOf(client, jobUuid, 'ssh'), 'duser', key);
    assert.equal(await ssh.run('id -un; pwd'), 'duser\n/opt/dispersedworker');
    const { started_at_ms: startedAtMs } = await onlyRunOf(client, jobUuid);
    t.diagnostic(`${Date.now() - (startedAtMs ?? 0)} ms from the container's start to the first login`);
  });

  test('a key that the job was not given does not log in', async () => {
    const url = await readyUrlOf(client, jobUuid, 'ssh');
    const stranger = await OpenSsh.open(url, 'duser', makeSshKey(place.folder));
    await assert.rejects(stranger.run('id'), /Permission denied \(publickey\)/);
  });

  test('a file copied in and out again is the same', async () => {
    const content = randomBytes(8 * 1024 * 1024);
    const file = join(place.folder, 'sent');
    writeFileSync(file, content);
    await ssh.upload(file, 'received');
    assert.equal(await ssh.run('sha256sum received'), `${hashOf(content)}  received`);
    await ssh.download('received', `${file}-back`);
    assert.equal(hashOf(readFileSync(`${file}-back`)), hashOf(content));
  });

  test('a port of the container that is not published is reached through a forward', async () => {
    await ssh.run('busybox httpd -p 127.0.0.1:8080 -h /opt/dispersedworker/api');
    const port = await aFreePort();
    const forward = ssh.start('sleep 60', '-L', `127.0.0.1:${port}:127.0.0.1:8080`);
    try {
      const answer = await eventually('an answer through the forward', async () => {
        assert.equal(forward.child.exitCode, null, 'ssh goes on');
        const response = await fetch(`http://127.0.0.1:${port}/v1/models`).catch(() => null);
        return response?.text();
      });
      assert.equal(answer, modelsAnswer);
    } finally {
      forward.child.kill();
    }
  });

  test('sudo works for what the image allows, and for nothing else', async () => {
    assert.match(await ssh.run('ps -o user,args'), /^root +sshd: \/usr\/sbin\/sshd/m);
    await ssh.run('sudo -n /usr/sbin/sshd -t');
    await assert.rejects(ssh.run('sudo -n id'), /a password is required/);
  });

  test('Stop ends sessions and closes the port at once, though the container still has its grace', async () => {
    const session = ssh.start('echo in; sleep 60');
    assert.ok(session.child.stdout);
    await once(session.child.stdout, 'data');
    const url = urlOf((await client.jobs.get(jobUuid)).node_urls, 'ssh');
    const stopped = await client.jobs.cancel(jobUuid, { stop_grace_ms: 60_000 });
    assert.deepEqual(stopped.node_urls, []);
    assert.match(await session.ended, /Connection (to \S+ )?closed|Connection reset/);
    await eventually('the port to refuse', async () => (await tryTcp(url)) === 'refused');
    const [container] = await containersOf(jobUuid);
    assert.equal(container?.state, 'running', 'its grace goes on');
    assert.deepEqual((await onlyRunOf(client, jobUuid)).node_urls, []);
    await docker('kill', container.id);
  });

  const wishes: readonly [
    what: string,
    container: Partial<Container>,
    hasKey: boolean,
    expected: string[],
  ][] = [
    ['an SSH key adds 22 to the list', { ports: [8000] }, true, ['8000', 'ssh']],
    ['a list without 22 and without a key', { ports: [5000] }, false, ['5000']],
    ['22 listed without a key, in any place', { ports: [22, 8000] }, false, ['8000', 'ssh']],
    ['an empty list', { ports: [] }, false, []],
    ['an empty list with a key', { ports: [] }, true, ['ssh']],
    ['no list: the EXPOSE list of the image', {}, false, ['5000', 'ssh']],
  ];
  test('what is published follows ports, sshkey and the EXPOSE list', async () => {
    const jobs = await Promise.all(
      wishes.map(async ([what, container, hasKey, expected]) => {
        const uuid = await submit({ ...container, ...(hasKey ? { sshkey: key.publicKey } : {}) });
        return { what, expected, uuid };
      }),
    );
    for (const { what, expected, uuid } of jobs) {
      const job = await untilStatus(client, uuid, 'RUNNING');
      assert.deepEqual(descriptionsOf(job.node_urls), expected, what);
    }
    const ports = await Promise.all(
      jobs.map(async ({ uuid }) => (await client.jobs.get(uuid)).node_urls.map(({ port }) => port)),
    );
    assert.equal(new Set(ports.flat()).size, ports.flat().length, 'every port is published once');
    await Promise.all(jobs.map(({ uuid }) => client.jobs.cancel(uuid, { wait_ms: 20_000 })));
  });
});

describe('over three machines', needsDocker, () => {
  let place: Place;
  let lab: Lab;
  let key: SshKey;

  before(async () => {
    if (needsDocker.skip) return;
    place = createPlace();
    lab = await createLab(place.folder);
    key = makeSshKey(place.folder);
  });
  after(async () => {
    await lab?.remove();
    await place?.remove();
  });

  const submit = async (container: Partial<Container>) => {
    // More than half of a node's CPUs, so that two jobs need two nodes.
    const body = aService({ ...sshBaseImage, sshkey: key.publicKey, ...container }, { cpu_count: 1.5 });
    return (await lab.client.jobs.create(body)).uuid;
  };

  test('SSH reaches containers on nodes that nobody can connect to', async () => {
    const uuids = [await submit({ allowed_ips: [`${clientAddress}/32`] }), await submit({ allowed_ips: [] })];
    const nodes = new Set<string>();
    for (const uuid of uuids) {
      await untilStatus(lab.client, uuid, 'RUNNING');
      const url = await readyUrlOf(lab.client, uuid, 'ssh');
      assert.equal(url.hostname, serverAddress);
      const ssh = await OpenSsh.open(url, 'duser', key);
      const run = await onlyRunOf(lab.client, uuid);
      const node = lab.nodes.find((candidate) => candidate.uuid === run.node_uuid);
      assert.ok(node);
      const containers = await docker('-H', node.dockerHost, 'ps', '-q', '--no-trunc');
      const host = await ssh.run('hostname');
      assert.ok(
        containers.split('\n').some((id) => id.startsWith(host)),
        `${host} is among ${containers}`,
      );
      nodes.add(node.uuid);
    }
    assert.equal(nodes.size, 2, 'the jobs ran on two nodes');
    await Promise.all(uuids.map((uuid) => lab.client.jobs.cancel(uuid, { wait_ms: 20_000 })));
  });

  test('a client outside allowed_ips is turned away before any byte, and counted', async () => {
    const uuid = await submit({ allowed_ips: ['203.0.113.0/24', '2001:db8::1'] });
    await untilStatus(lab.client, uuid, 'RUNNING');
    const url = await readyUrlOf(lab.client, uuid, 'ssh');
    for (let attempt = 0; attempt < 3; attempt += 1) assert.equal(await tryTcp(url), 'closed');
    await eventually('three refused connections', async () => {
      const { refused_connection_count: count } = await onlyRunOf(lab.client, uuid);
      assert.ok(count <= 3, `${count} connections were counted, and three were made`);
      return count === 3;
    });
    await lab.client.jobs.cancel(uuid, { wait_ms: 20_000 });
  });
});
