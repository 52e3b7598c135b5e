// Keeps runs apart: network and firewall rules made, watched and repaired, and the truth told about them.
import { type IsolationPlan, isolationPlan } from '../domain/isolation.ts';
import { type Clock, sleep } from './clock.ts';
import { Firewall, hasIpv6 } from './firewall.ts';
import type { AgentLog } from './log.ts';
import { guardBridge } from './network-bridge.ts';
import { readResolvers } from './network-resolvers.ts';
import { type Runtime, RuntimeError } from './runtime.ts';

/** `note` says why isolation is not enforced. */
export type IsolationState = { isolation: 'enforced'; note: null } | { isolation: 'none'; note: string };

/** What the agent needs of whatever keeps runs apart. */
export interface Isolation {
  readonly state: IsolationState;
  /** Resolves after the first look at the node. */
  readonly ready: Promise<void>;
  /** Watches until the signal aborts; never throws. */
  run(signal: AbortSignal): Promise<void>;
}

export interface IsolationOptions {
  runtime: Runtime;
  clock: Clock;
  log: AgentLog;
  /** Private networks are open to runs; other runs, the host and metadata services never are. */
  isLanAllowed: boolean;
  onChange: (state: IsolationState) => void;
}

const recheckMs = 30_000;
/** After an event, more of them are waited for: a container brings several. */
const gatherMs = 1_000;
/** Rules that someone had changed count again when they still stand after this. */
const settleMs = 5_000;
const eventsRetryMs = 2_000;

export class NodeIsolation implements Isolation {
  state: IsolationState = { isolation: 'none', note: 'The node has not been looked at yet.' };
  readonly ready: Promise<void>;
  readonly #options: IsolationOptions;
  readonly #plan: IsolationPlan;
  readonly #firewall: Firewall;
  #markReady: () => void = () => {};
  #wake: () => void = () => {};

  constructor(options: IsolationOptions) {
    this.#options = options;
    this.#plan = isolationPlan(options.isLanAllowed);
    this.#firewall = new Firewall(this.#plan);
    this.ready = new Promise((resolve) => {
      this.#markReady = resolve;
    });
  }

  async run(signal: AbortSignal): Promise<void> {
    const watching = this.#watch(signal);
    while (!signal.aborted) {
      const isSettling = await this.#look();
      this.#markReady();
      await this.#pause(isSettling ? settleMs : recheckMs, signal);
    }
    await watching;
  }

  /** True when rules had been changed and are to be looked at again soon. */
  async #look(): Promise<boolean> {
    try {
      const fault = await this.#ensure();
      if (fault === null) this.#become({ isolation: 'enforced', note: null });
      else
        this.#become({ isolation: 'none', note: `${fault} They were written again and are being watched.` });
      return fault !== null;
    } catch (error) {
      this.#become({ isolation: 'none', note: noteOf(error) });
      return false;
    }
  }

  /** Null when everything stands as it was left; else what someone had changed. */
  async #ensure(): Promise<string | null> {
    const { runtime } = this.#options;
    if (runtime.joinNetwork === undefined)
      throw new Error('This engine has no networks that can be guarded.');
    const { networkName, bridge } = this.#plan;
    const actualBridge = await runtime.joinNetwork({ name: networkName, bridge });
    if (process.getuid?.() !== 0)
      throw new Error('The agent does not run as root, so it can set no firewall rules.');
    const wasTurnedOn = await guardBridge(actualBridge);
    const resolvers = await readResolvers();
    const families = (await hasIpv6()) ? ([4, 6] as const) : ([4] as const);
    const outcomes = [];
    for (const family of families) outcomes.push(await this.#firewall.ensure(family, resolvers[family]));
    const changed = outcomes.find((outcome) => outcome.kind === 'changed');
    if (changed !== undefined)
      return `Firewall rules of the node were changed by someone else: ${changed.fault}`;
    const isFirstLook = outcomes.every((outcome) => outcome.kind === 'written');
    return wasTurnedOn && !isFirstLook ? 'The packet filter for bridges had been switched off.' : null;
  }

  #become(state: IsolationState): void {
    const isNews = state.isolation !== this.state.isolation || state.note !== this.state.note;
    this.state = state;
    if (!isNews) return;
    const { log, onChange } = this.#options;
    if (state.isolation === 'enforced') log.info({}, 'runs are isolated');
    else
      log.warn({ reason: state.note }, 'runs are not isolated; only jobs of the own account are placed here');
    onChange(state);
  }

  /** Until the time is over or the engine changed a network. */
  async #pause(forMs: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    await sleep(clock, forMs, AbortSignal.any([woken.signal, signal]));
    if (woken.signal.aborted) await sleep(clock, gatherMs, signal);
  }

  /** The engine rewrites its rules with its networks, and others do when it restarts. */
  async #watch(signal: AbortSignal): Promise<void> {
    const { runtime, clock } = this.#options;
    while (!signal.aborted && runtime.watchNetworks !== undefined) {
      await runtime.watchNetworks({ onChange: () => this.#wake(), signal }).catch(() => {});
      this.#wake();
      await sleep(clock, eventsRetryMs, signal);
    }
  }
}

/** What the engine said belongs to it: the operator reads this, and no secret of a job is near. */
function noteOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const detail = error instanceof RuntimeError && error.engineText !== null ? ` (${error.engineText})` : '';
  return `${text}${detail}`.slice(0, 1000);
}
