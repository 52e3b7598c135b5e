// Watches a chaos run past Flotilla: every container's life from its engine, every change of status from the database.
import { setTimeout as sleep } from 'node:timers/promises';
import { askEngine, type EngineEvent, followEvents } from './engine.ts';
import type { ChaosNode } from './node.ts';
import type { Place } from './place.ts';

/** Epoch milliseconds by the engine's clock, which is ours. */
export interface ContainerLife {
  id: string;
  node: ChaosNode;
  jobUuid: string;
  runUuid: string;
  attempt: number;
  startedAtMs: number | null;
  diedAtMs: number | null;
  exitCode: number | null;
  isGone: boolean;
  /** The last time it was seen running; before its end, since an engine that is away tells of no end. */
  seenRunningAtMs: number | null;
}

interface Listed {
  Id: string;
  State: string;
  Labels: Record<string, string>;
}

const listEveryMs = 3_000;
const eventsAgainMs = 300;

export class Watcher {
  readonly lives = new Map<string, ContainerLife>();
  readonly #place: Place;
  readonly #stop = new AbortController();

  constructor(place: Place) {
    this.#place = place;
  }

  /** Installs the triggers, and watches every engine until `stop`. */
  async start(): Promise<void> {
    await this.#place.postgres.pool.query(changeTriggers);
    for (const node of this.#place.nodes) {
      void this.#followNode(node);
      void this.#listNode(node);
    }
  }

  stop(): void {
    this.#stop.abort();
  }

  liveCount(): number {
    return [...this.lives.values()].filter(isLive).length;
  }

  /** Looks at every engine now; throws while one is away. */
  async look(): Promise<void> {
    await Promise.all(this.#place.nodes.map((node) => this.#list(node)));
  }

  async #followNode(node: ChaosNode): Promise<void> {
    let sinceSeconds = Math.floor(Date.now() / 1000);
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const onEvent = (event: EngineEvent) => this.#note(node, event);
      const fromSeconds = Math.floor(Date.now() / 1000);
      await followEvents(node.socketPath, { sinceSeconds, onEvent, signal });
      // An engine that was started anew has forgotten; one that hung tells twice what we know.
      sinceSeconds = fromSeconds;
      await sleep(eventsAgainMs, undefined, { signal }).catch(() => {});
    }
  }

  #note(node: ChaosNode, { Action, Actor, timeNano }: EngineEvent): void {
    const atMs = timeNano / 1e6;
    const life = this.#lifeOf(node, Actor.ID, Actor.Attributes);
    if (life === null) return;
    if (Action === 'start') life.startedAtMs ??= atMs;
    if (Action === 'die' && life.diedAtMs === null) {
      life.diedAtMs = atMs;
      life.exitCode = knownCode(Number(Actor.Attributes.exitCode));
    }
    if (Action === 'destroy') life.isGone = true;
  }

  #lifeOf(node: ChaosNode, id: string, labels: Record<string, string>): ContainerLife | null {
    const known = this.lives.get(id);
    if (known !== undefined) return known;
    const runUuid = labels['flotilla.run'];
    const jobUuid = labels['flotilla.job'];
    if (runUuid === undefined || jobUuid === undefined) return null;
    const life: ContainerLife = {
      id,
      node,
      jobUuid,
      runUuid,
      attempt: Number(labels['flotilla.attempt']),
      startedAtMs: null,
      diedAtMs: null,
      exitCode: null,
      isGone: false,
      seenRunningAtMs: null,
    };
    this.lives.set(id, life);
    return life;
  }

  async #listNode(node: ChaosNode): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await this.#list(node).catch(() => {});
      await sleep(listEveryMs, undefined, { signal }).catch(() => {});
    }
  }

  async #list(node: ChaosNode): Promise<void> {
    const askedAtMs = Date.now();
    const known = [...this.lives.values()].filter((life) => life.node === node && !life.isGone);
    const listed = await askEngine<Listed[]>(node.socketPath, '/containers/json?all=1');
    const byId = new Map(listed.map((container) => [container.Id, container]));
    for (const { Id, State, Labels } of listed) {
      const life = this.#lifeOf(node, Id, Labels);
      if (life !== null && State === 'running') life.seenRunningAtMs = askedAtMs;
      if (life !== null && State === 'exited') await this.#readEnd(node, life);
    }
    for (const life of known) if (!byId.has(life.id)) life.isGone = true;
  }

  /** Of a container that ended while nobody told of it. */
  async #readEnd(node: ChaosNode, life: ContainerLife): Promise<void> {
    if (life.diedAtMs !== null) return;
    const path = `/containers/${life.id}/json`;
    const found = await askEngine<{ State: { Status: string; FinishedAt: string; ExitCode: number } }>(
      node.socketPath,
      path,
    ).catch(() => null);
    if (found?.State.Status !== 'exited' || life.diedAtMs !== null) return;
    life.diedAtMs = Date.parse(found.State.FinishedAt);
    life.exitCode = knownCode(found.State.ExitCode);
  }
}

/** An engine says 255 of what ended while it was dead itself; no program here exits so. */
function knownCode(exitCode: number): number | null {
  return exitCode === 255 ? null : exitCode;
}

/** As far as is known. */
export function isLive(life: ContainerLife): boolean {
  return life.startedAtMs !== null && life.diedAtMs === null && !life.isGone;
}

/** From its start until the last moment at which it certainly ran. */
export function certainLife(life: ContainerLife): { fromMs: number; toMs: number } | null {
  if (life.startedAtMs === null) return null;
  const toMs = life.diedAtMs ?? life.seenRunningAtMs ?? life.startedAtMs;
  return { fromMs: life.startedAtMs, toMs: Math.max(toMs, life.startedAtMs) };
}

/** Every change of a status, and every release, with the time of its statement. */
const changeTriggers = `
  create table chaos_changes (
    id bigint generated always as identity, at timestamptz not null default clock_timestamp(),
    kind text not null, row_id uuid not null, was text, becomes text);
  create function chaos_note() returns trigger language plpgsql as $$
  begin
    if tg_op = 'DELETE' then
      insert into chaos_changes (kind, row_id, was) values (tg_table_name, old.id, old.status);
      return old;
    end if;
    if new.status is distinct from old.status then
      insert into chaos_changes (kind, row_id, was, becomes) values (tg_table_name, new.id, old.status, new.status);
    end if;
    if tg_table_name = 'job_runs' then
      if new.released_at is distinct from old.released_at then
        insert into chaos_changes (kind, row_id, was, becomes)
        values ('release', new.id, old.released_at::text, new.released_at::text);
      end if;
    end if;
    return new;
  end $$;
  create trigger chaos_jobs after update or delete on jobs for each row execute function chaos_note();
  create trigger chaos_runs after update or delete on job_runs for each row execute function chaos_note();`;
