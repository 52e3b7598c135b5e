// A real registry behind a password: who gets an image, what a refusal says, and that a cached one is no way around it.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { ContainerOrder } from '../../src/protocol/agent-messages.ts';
import { ControlPlane } from '../agent/support/control-plane.ts';
import { docker, isGone, removeContainers, startAgent, withNode } from '../agent/support/node.ts';
import { Registry, secret, user } from './support/registry.ts';
import { importProgram, importTree } from './support/trees.ts';

const closed = new Registry({ isPrivate: true });
const open = new Registry({ isPrivate: false });
let digest = '';

before(async () => {
  await Promise.all([closed.start(), open.start()]);
  importProgram('local/program:1');
  digest = await closed.publish('local/program:1', 'team/app:1');
  await open.publish('local/program:1', 'free/app:1');
});
after(async () => {
  await closed[Symbol.asyncDispose]();
  await open[Symbol.asyncDispose]();
  await docker('rmi', '-f', 'local/program:1');
});

type Container = Partial<ContainerOrder>;
const credentials = { registry_user: user, registry_secret: secret };
const closedApp = (own: Container = {}): { container: Container } => ({
  container: {
    image: 'team/app',
    tag: '1',
    registry_host: closed.host,
    command: ['/bin/sh', '-c', 'cat /random >/dev/null'],
    ...own,
  },
});
const openApp = (own: Container = {}) => closedApp({ image: 'free/app', registry_host: open.host, ...own });

/** The exit code, or the code of what went wrong. */
async function expectOutcome(
  plane: ControlPlane,
  options: { container: Container },
  expected: number | string,
): Promise<void> {
  const { error, exit_code } = await plane.event(plane.want(options), 'exited');
  assert.equal(error === null ? exit_code : error.code, expected, error?.message ?? '');
}

async function withoutOpenRegistry(body: () => Promise<void>): Promise<void> {
  await open.stop();
  try {
    await body();
  } finally {
    await open.start();
  }
}

async function withStateDirectory(body: (stateDirectory: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'flotilla-state-'));
  try {
    await body(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
    await forget();
  }
}

/** Takes the registries' images off the engine. */
async function forget(): Promise<void> {
  for (const name of [`${closed.host}/team/app:1`, `${open.host}/free/app:1`]) {
    await docker('rmi', '-f', name).catch(() => {});
  }
}

test('with the right credentials it runs, and digest and size are told', async () => {
  await withNode(async ({ plane }) => {
    const run = plane.want(closedApp(credentials));
    const running = await plane.event(run, 'running');
    assert.equal(running.image_digest, digest);
    assert.ok((running.image_size_bytes ?? 0) > 1_000_000, `${running.image_size_bytes} bytes`);
    assert.equal((await plane.event(run, 'exited')).exit_code, 0);
  });
  await forget();
});

test('a wrong secret, no secret, a missing tag and a missing name are told apart, without the secret', async () => {
  await withNode(async ({ plane }) => {
    const tell = async (options: { container: Container }) => {
      const { error } = await plane.event(plane.want(options), 'exited');
      assert.doesNotMatch(error?.message ?? '', /correct-horse|wrong-horse/);
      return `${error?.code}: ${error?.message.split(' (')[0]}`;
    };
    const app = `"${closed.host}/team/app`;
    assert.equal(
      await tell(closedApp({ ...credentials, registry_secret: 'wrong-horse' })),
      `pull_unauthorized: The registry refused image ${app}:1"; check user and secret.`,
    );
    assert.equal(
      await tell(closedApp()),
      `pull_unauthorized: The registry refused image ${app}:1"; check user and secret.`,
    );
    assert.equal(
      await tell(closedApp({ ...credentials, tag: 'absent' })),
      `image_not_found: Image ${app}:absent" was not found; check its name and tag.`,
    );
    assert.match(await tell(closedApp({ ...credentials, image: 'team/nothing' })), /^image_not_found: /);
  });
});

test('a registry that is down is told, and an image that is there and open is used without it', async () => {
  await withNode(async ({ plane }) => {
    await expectOutcome(plane, openApp(), 0);
    await withoutOpenRegistry(async () => {
      await expectOutcome(plane, openApp(), 0);
      await expectOutcome(plane, openApp({ tag: 'other' }), 'registry_unreachable');
    });
  });
  await forget();
});

test('a cached private image is given to nobody without credentials, by no name, also after a restart', () =>
  withStateDirectory(async (stateDirectory) => {
    const plane = await new ControlPlane().listen();
    let agent = startAgent(plane, { stateDirectory });
    try {
      await expectOutcome(plane, closedApp(credentials), 0);
      const imageId = await docker('inspect', '-f', '{{.Id}}', `${closed.host}/team/app:1`);
      const attempts: { container: Container }[] = [
        closedApp(),
        closedApp({ registry_host: null, image: `${closed.host}/team/app` }),
        closedApp({ registry_user: 'mallory', registry_secret: 'guessed-it' }),
        // The engine takes this for the id of an image that it has.
        closedApp({ registry_host: null, image: 'sha256', tag: imageId.replace('sha256:', '') }),
        closedApp({ registry_host: null, image: imageId.replace('sha256:', ''), tag: '' }),
      ];
      for (const attempt of attempts) {
        const { error } = await plane.event(plane.want(attempt), 'exited');
        assert.notEqual(error, null, JSON.stringify(attempt));
      }
      await agent.stop();
      agent = startAgent(plane, { stateDirectory });
      await expectOutcome(plane, closedApp(), 'pull_unauthorized');
      await expectOutcome(plane, closedApp(credentials), 0);
    } finally {
      await agent.stop();
      await plane.close();
      await removeContainers(plane.nodeUuid);
    }
  }));

test('a record that was interrupted or is unreadable closes the cache rather than opening it', () =>
  withStateDirectory(async (stateDirectory) => {
    const file = join(stateDirectory, 'images.json');
    await withNode(({ plane }) => expectOutcome(plane, closedApp(credentials), 0), {
      stateDirectory,
    });
    const { images } = JSON.parse(readFileSync(file, 'utf8'));
    const records = {
      broken: '{"version":',
      'of an agent killed in its pull': JSON.stringify({
        version: 1,
        is_incomplete: false,
        images: {
          [`${closed.host}/team/app:1`]: { ...images[`${closed.host}/team/app:1`], imageId: null },
        },
      }),
    };
    for (const record of Object.values(records)) {
      writeFileSync(file, record);
      await withNode(
        async ({ plane }) => {
          await expectOutcome(plane, closedApp(), 'pull_unauthorized');
          // What never saw a registry is the operator's own.
          await expectOutcome(plane, { container: { command: ['/bin/true'] } }, 0);
        },
        { stateDirectory },
      );
    }
  }));

test('an image that was open before stays open when somebody asks for it with credentials', async () => {
  await withNode(async ({ plane }) => {
    await expectOutcome(plane, openApp(), 0);
    await expectOutcome(plane, openApp(credentials), 0);
    await withoutOpenRegistry(async () => {
      await expectOutcome(plane, openApp(), 0);
      await expectOutcome(plane, openApp(credentials), 'registry_unreachable');
      await expectOutcome(plane, openApp(), 0);
    });
  });
  await forget();
});

test('an image that came with credentials and that the registry gives to all is opened by the first who asks', async () => {
  await withNode(async ({ plane }) => {
    await expectOutcome(plane, openApp(credentials), 0);
    await expectOutcome(plane, openApp(), 0);
    await withoutOpenRegistry(() => expectOutcome(plane, openApp(), 0));
  });
  await forget();
});

test('a registry on a private address is not asked unless the operator allows it', async () => {
  const count = () => open.requests(/"GET /).length;
  const asked = count();
  await withNode(
    async ({ plane }) => {
      for (const host of [open.host, `localhost:${open.port}`, `127.1:${open.port}`, '169.254.169.254']) {
        const run = plane.want(openApp({ registry_host: host }));
        const { error } = await plane.event(run, 'exited');
        assert.equal(error?.code, 'registry_not_allowed', host);
        assert.match(error?.message ?? '', /--allow-registry/);
      }
    },
    { allowedRegistries: [] },
  );
  assert.equal(count(), asked);
  await withNode(({ plane }) => expectOutcome(plane, openApp(), 0), {
    allowedRegistries: [open.host],
  });
  await forget();
});

test('a program for another processor is told so, and its container is removed', async () => {
  // An ELF header for a machine that this one is not.
  const elf = Buffer.alloc(128);
  elf.write('\x7fELF', 'latin1');
  elf.set([2, 1, 1], 4);
  elf.writeUInt16LE(2, 16);
  elf.writeUInt16LE(process.arch === 'arm64' ? 62 : 183, 18);
  const foreign = process.arch === 'arm64' ? 'amd64' : 'arm64';
  const tree = { files: { program: elf }, shell: 'chmod 755 program' };
  const withShell = { files: { program: elf, 'bin/sh': elf }, shell: 'chmod 755 program bin/sh' };
  const names = [`local/foreign-${randomUUID()}`, `local/foreign-${randomUUID()}`] as const;
  importTree(names[0], { ...tree, architecture: foreign });
  importTree(names[1], withShell);
  try {
    await withNode(async ({ plane }) => {
      for (const image of names) {
        const run = plane.want({ container: { image, tag: 'latest', command: ['/program'] } });
        const { error } = await plane.event(run, 'exited');
        assert.equal(error?.code, 'image_platform_mismatch');
        assert.match(error?.message ?? '', /another processor/);
        await plane.event(run, 'released');
        assert.equal(await isGone(run), true);
      }
    });
  } finally {
    await docker('rmi', '-f', ...names);
  }
});
