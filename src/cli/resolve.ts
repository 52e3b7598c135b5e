// From what people type to one job, run, node, account, user or key: a full uuid, the start of a recent one, a name.
import type { Account } from '../protocol/account.ts';
import type { ApiKey } from '../protocol/api-key.ts';
import type { JobRun } from '../protocol/job-run.ts';
import type { Node } from '../protocol/node.ts';
import type { User } from '../protocol/user.ts';
import type { Client } from '../sdk/client.ts';
import { NotFoundError, UsageError } from './errors.ts';
import { listPages } from './list-pages.ts';

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
/** Fewer characters of a time-ordered uuid say nothing. */
const shortestPrefix = 6;
/** "Recent": the newest 200 jobs. */
const searchedPages = 4;
const pageSize = 50;

/** The uuid of the job that `reference` names; a full uuid is not looked up. */
export async function resolveJob(client: Client, reference: string): Promise<string> {
  const prefix = reference.toLowerCase();
  if (uuid.test(prefix)) return prefix;
  if (!/^[0-9a-f-]+$/.test(prefix) || prefix.length < shortestPrefix) {
    throw new UsageError(
      `"${reference}" is not a job: give its uuid, or at least its first ${shortestPrefix} characters.`,
    );
  }
  const matches: string[] = [];
  for (let page = 1; page <= searchedPages; page += 1) {
    const { data } = await client.jobs.list({ page, limit: pageSize, sort: '-created_at' });
    matches.push(
      ...data.map((job) => job.uuid).filter((it) => it.startsWith(prefix) && !matches.includes(it)),
    );
    if (data.length < pageSize) break;
  }
  return onlyMatch(matches, reference);
}

function onlyMatch(matches: string[], reference: string): string {
  const [first, second] = matches;
  if (first === undefined) {
    throw new NotFoundError(
      `No recent job begins with "${reference}": see "flotilla job list", or give the full uuid.`,
    );
  }
  if (second === undefined) return first;
  throw new UsageError(
    `${matches.length} recent jobs begin with "${reference}": ${matches.slice(0, 3).join(', ')}${matches.length > 3 ? ', …' : ''}`,
  );
}

/** The newest run of the job; null when it has none yet. */
export async function latestRun(client: Client, jobUuid: string): Promise<JobRun | null> {
  const { data } = await client.runs.list({ filter: { job_uuid: jobUuid }, limit: 1, sort: '-created_at' });
  return data[0] ?? null;
}

/** The run that `reference` names: its uuid or its attempt (1, 2, …). */
export async function resolveRun(client: Client, jobUuid: string, reference: string): Promise<JobRun> {
  const { data } = await listPages((query) => client.runs.list(query), { all: true }, { job_uuid: jobUuid });
  const run = data.find((it) => it.uuid === reference.toLowerCase() || String(it.attempt) === reference);
  if (run) return run;
  const attempts = data.map((it) => it.attempt).sort((a, b) => a - b);
  const known = attempts.length > 0 ? `it has attempt ${attempts.join(', ')}` : 'it has no run yet';
  throw new NotFoundError(`Job ${jobUuid} has no run "${reference}": ${known}.`);
}

/** The run whose container is meant: the newest one unless another was named. */
export async function runInUse(client: Client, jobUuid: string, reference?: string): Promise<JobRun> {
  if (reference !== undefined) return resolveRun(client, jobUuid, reference);
  const run = await latestRun(client, jobUuid);
  if (run) return run;
  const { status } = await client.jobs.get(jobUuid);
  throw new NotFoundError(`Job ${jobUuid} has no container: it is ${status}.`);
}

/** The node that `reference` names: its uuid or its name. */
export async function resolveNode(client: Client, reference: string): Promise<Node> {
  if (uuid.test(reference)) return client.nodes.get(reference.toLowerCase());
  const { data } = await listPages((query) => client.nodes.list(query), { all: true });
  const node = data.find((it) => it.name === reference);
  if (!node) throw new NotFoundError(`There is no node "${reference}": see "flotilla node list".`);
  return node;
}

/** The uuid of the account that `reference` names: its uuid, that of one of its users, or its name. */
export async function resolveAccount(client: Client, reference: string): Promise<string> {
  if (uuid.test(reference)) return reference.toLowerCase();
  const { data } = await listPages<Account>((query) => client.accounts.list(query), { all: true });
  const [found, other] = data.filter((it) => it.name === reference);
  if (!found) throw new NotFoundError(`There is no account "${reference}": see "flotilla account list".`);
  if (!other) return found.uuid;
  throw new UsageError(
    `Several accounts are named "${reference}": ${found.uuid}, ${other.uuid}, …: give the uuid.`,
  );
}

/** The account an option names, as the part of a body or filter that asks for it; none when it was not given. */
export async function accountGiven(client: Client, reference: string | undefined) {
  return reference === undefined ? {} : { account_uuid: await resolveAccount(client, reference) };
}

/** The uuid of the user that `reference` names: their uuid or e-mail address. */
export async function resolveUser(client: Client, reference: string): Promise<string> {
  if (uuid.test(reference)) return reference.toLowerCase();
  const { data } = await listPages<User>((query) => client.users.list(query), { all: true });
  const user = data.find(
    (it) => it.removed_at === null && it.email.toLowerCase() === reference.toLowerCase(),
  );
  if (!user) throw new NotFoundError(`There is no user "${reference}": see "flotilla user list".`);
  return user.uuid;
}

/** The uuid of the key that `reference` names: its uuid or its public key. */
export async function resolveKey(client: Client, reference: string): Promise<string> {
  if (uuid.test(reference)) return reference.toLowerCase();
  const { data } = await listPages<ApiKey>((query) => client.keys.list(query), { all: true });
  const key = data.find((it) => it.public_key === reference);
  if (!key) throw new NotFoundError(`There is no key "${reference}": see "flotilla key list".`);
  return key.uuid;
}
