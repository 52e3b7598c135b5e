// The kernel's packet filter through iptables and ip6tables: reads it, writes our chains as one, and reads back.
import { type ExecFileException, execFile } from 'node:child_process';
import { access } from 'node:fs/promises';
import {
  type AddressFamily,
  type ChainRules,
  chainRules,
  type IsolationPlan,
  jumpFault,
  jumpTwice,
  ownChains,
  restoreScript,
} from '../domain/isolation.ts';

/** `changed`: someone else changed our rules since they were written; `fault` says what was found. */
export type FirewallOutcome = { kind: 'kept' | 'written' } | { kind: 'changed'; fault: string };

const commandTimeoutMs = 10_000;
/** Others hold the lock of the packet filter for milliseconds; an engine that starts, for about a second. */
const lockWaitSeconds = '5';
/** Another agent of this machine may write between our look and our write. */
const writeTries = 3;

interface Standing {
  /** The rules as they were asked for. */
  wanted: string;
  /** Our chains as the kernel printed them after the write: its spelling, not ours. */
  chains: string;
}

export class Firewall {
  readonly #plan: IsolationPlan;
  readonly #standing = new Map<AddressFamily, Standing>();

  constructor(plan: IsolationPlan) {
    this.#plan = plan;
  }

  /** Makes our rules stand and proves it by reading them back; throws a sentence where that cannot be done. */
  async ensure(family: AddressFamily, resolvers: readonly string[]): Promise<FirewallOutcome> {
    const rules = chainRules(this.#plan, family, resolvers);
    const wanted = JSON.stringify(rules);
    const known = this.#standing.get(family);
    const listing = await list(family);
    const fault = this.#fault(listing, known);
    if (fault === null && known?.wanted === wanted) return { kind: 'kept' };
    const chains = await this.#write(family, listing, rules);
    this.#standing.set(family, { wanted, chains });
    return known === undefined || fault === null ? { kind: 'written' } : { kind: 'changed', fault };
  }

  /** Again when another agent wrote between our look and our write. Our chains as the kernel prints them. */
  async #write(family: AddressFamily, listing: string, rules: ChainRules): Promise<string> {
    let problem = 'they were changed again and again';
    for (let tries = 1, before = listing; tries <= writeTries; tries += 1) {
      const refusal = await restore(family, restoreScript(before, this.#plan, rules)).catch(asError);
      before = await list(family);
      const chains = ownChains(before, this.#plan);
      const fault = jumpFault(before, this.#plan) ?? jumpTwice(before, this.#plan);
      const isWhole = chains !== null && ruleCount(chains) === ruleCount(JSON.stringify(rules));
      if (refusal === undefined && fault === null && isWhole) return chains;
      problem = refusal?.message ?? fault ?? 'a chain differs';
    }
    this.#standing.delete(family);
    throw new Error(`The firewall rules (IPv${family}) do not stand: ${problem}`);
  }

  #fault(listing: string, known: Standing | undefined): string | null {
    const chains = ownChains(listing, this.#plan);
    if (chains === null) return 'A chain is missing.';
    if (known !== undefined && chains !== known.chains) return 'The rules of a chain were changed.';
    return jumpFault(listing, this.#plan);
  }
}

/** Both our chains together; they come as a list of lists or as an object of lists. */
function ruleCount(chains: string): number {
  const lists = Object.values(JSON.parse(chains) as Record<string, string[]>);
  return lists.reduce((count, rules) => count + rules.length, 0);
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

/** A kernel without IPv6 needs no rules for it. */
export async function hasIpv6(): Promise<boolean> {
  return access('/proc/net/if_inet6').then(
    () => true,
    () => false,
  );
}

function list(family: AddressFamily): Promise<string> {
  return run(command(family, ''), ['-w', lockWaitSeconds, '-S'], '');
}

async function restore(family: AddressFamily, script: string): Promise<void> {
  await run(command(family, '-restore'), ['-w', lockWaitSeconds, '--noflush'], script);
}

function command(family: AddressFamily, suffix: string): string {
  return `${family === 4 ? 'iptables' : 'ip6tables'}${suffix}`;
}

function run(program: string, parameters: string[], input: string): Promise<string> {
  // Users' search paths often lack the folders of system programs.
  const env = { PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`, LC_ALL: 'C' };
  return new Promise((resolve, reject) => {
    const options = { env, timeout: commandTimeoutMs, maxBuffer: 64 * 1024 * 1024 };
    const child = execFile(program, parameters, options, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout);
      reject(new Error(failure(program, error, stderr), { cause: error }));
    });
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });
}

function failure(program: string, error: ExecFileException, stderr: string): string {
  if (error.code === 'ENOENT') return `${program} is not installed; install the package iptables.`;
  if (error.killed) return `${program} did not answer within ${commandTimeoutMs / 1000} s.`;
  return `${program} failed: ${(stderr.trim().split('\n')[0] ?? '').slice(0, 300) || error.message}`;
}
