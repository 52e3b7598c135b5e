// Keys made on the machine that holds the data: the admin's, and the local node's.
import { chmodSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { newKeyPair, presetPermissions } from '../api/key-presets.ts';
import { keyDetail } from '../api/key-view.ts';
import { createApiKey, findSigningKey } from '../db/api-keys.ts';
import { writeAuditEntry } from '../db/audit-log.ts';
import { createNode, findNodeByName } from '../db/nodes.ts';
import { type KeyPreset, permissions } from '../protocol/api-key.ts';
import { newId, newToken } from './ids.ts';
import type { Storage } from './storage.ts';

/** The content of `admin-key.json` and `node-key.json`. */
export interface KeyFile {
  public_key: string;
  secret_key: string;
  url: string;
  node_uuid?: string;
}

/** The admin key of `<data>/admin-key.json`, made when it is absent or unknown to the database. */
export async function openAdminKey(storage: Storage, url: string): Promise<{ key: KeyFile; file: string }> {
  const file = join(storage.dataDirectory, 'admin-key.json');
  const known = await readKnown(storage, file);
  const key =
    known ?? (await makeKey(storage, { preset: 'admin', name: 'admin of this machine', nodeId: null }));
  const content = { public_key: key.public_key, secret_key: key.secret_key, url };
  writeKey(file, content);
  return { key: content, file };
}

/** A new admin key, whatever the old one was. */
export async function recoverAdminKey(
  storage: Storage,
  url: string,
): Promise<{ key: KeyFile; file: string }> {
  const file = join(storage.dataDirectory, 'admin-key.json');
  const pair = await makeKey(storage, { preset: 'admin', name: 'recovered admin', nodeId: null });
  const content = { ...pair, url: readKey(file)?.url ?? url };
  writeKey(file, content);
  return { key: content, file };
}

/** The key of the node on this machine, registering it under the host's name on the first start. */
export async function openNodeKey(storage: Storage, url: string): Promise<KeyFile & { node_uuid: string }> {
  const file = join(storage.dataDirectory, 'node-key.json');
  const known = await readKnown(storage, file);
  if (known?.node_uuid !== undefined) {
    const content = { ...known, node_uuid: known.node_uuid, url };
    writeKey(file, content);
    return content;
  }
  const nodeId = await openLocalNode(storage);
  const pair = await makeKey(storage, { preset: 'node', name: 'local node', nodeId });
  const content = { ...pair, url, node_uuid: nodeId };
  writeKey(file, content);
  return content;
}

async function openLocalNode({ database, account }: Storage): Promise<string> {
  const name =
    hostname()
      .replace(/[^A-Za-z0-9._-]/g, '-')
      .replace(/^[^A-Za-z0-9]+/, '') || 'local';
  const accountId = account.id;
  const created = await createNode(database, { id: newId(), accountId, name, regionCode: null, labels: {} });
  const node = created ?? (await findNodeByName(database, { name, accountId }));
  if (node === null) throw new Error(`The node ${name} could not be registered.`);
  return node.id;
}

async function makeKey(
  { database, vault, account }: Storage,
  options: { preset: KeyPreset; name: string; nodeId: string | null },
): Promise<{ public_key: string; secret_key: string }> {
  const pair = newKeyPair(newToken);
  await database.transaction(async (sql) => {
    const key = await createApiKey(sql, vault, {
      id: newId(),
      accountId: account.id,
      ...options,
      ...pair,
      permissions: options.preset === 'admin' ? permissions : presetPermissions[options.preset],
      allowedIps: [],
      expiresAtMs: null,
    });
    await writeAuditEntry(sql, {
      ...{
        id: newId(),
        accountId: account.id,
        action: 'key_created',
        subjectKind: 'api_key',
        subjectId: key.id,
      },
      // Whoever has the data directory has the cluster.
      actor: { kind: 'machine', host: hostname(), account_uuid: account.id },
      detail: keyDetail(key),
    });
  });
  return { public_key: pair.publicKey, secret_key: pair.secret };
}

/** The key of the file, if the database knows it and it was not revoked. */
async function readKnown({ database, vault }: Storage, file: string): Promise<KeyFile | null> {
  const content = readKey(file);
  if (content === null) return null;
  const key = await findSigningKey(database, vault, content.public_key);
  return key !== null && key.revokedAtMs === null && key.secret === content.secret_key ? content : null;
}

function readKey(file: string): KeyFile | null {
  if (!existsSync(file)) return null;
  try {
    const content: unknown = JSON.parse(readFileSync(file, 'utf8'));
    return isKeyFile(content) ? content : null;
  } catch (cause) {
    throw new Error(
      `The key file ${file} is not readable JSON; remove it, and a new key is made at the next start.`,
      { cause },
    );
  }
}

function isKeyFile(value: unknown): value is KeyFile {
  const { public_key, secret_key } = (value ?? {}) as Partial<KeyFile>;
  return typeof public_key === 'string' && typeof secret_key === 'string';
}

/** Whole or not at all, and never readable for others. */
function writeKey(file: string, content: KeyFile): void {
  const draft = `${file}.new`;
  writeFileSync(draft, `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600 });
  chmodSync(draft, 0o600);
  renameSync(draft, file);
}
