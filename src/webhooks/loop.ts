// Delivers events to webhooks while this replica leads that: fills the outbox, attempts what is due, settles what came of it.
import type { LookupFunction } from 'node:net';
import type { Logger } from 'pino';
import type { Database } from '../db/database.ts';
import { type Hints, tellsOfEvents } from '../db/hints.ts';
import { claimLeadership, type Leadership, releaseLeadership } from '../db/leadership.ts';
import type { Vault } from '../db/vault.ts';
import {
  type ClaimedDelivery,
  claimDeliveries,
  fillOutbox,
  settleDelivered,
  settleFailed,
} from '../db/webhook-outbox.ts';
import { webhookOwner } from '../db/webhooks.ts';
import { giveUpAfterMs, retryPauseMs } from '../domain/webhook-retry.ts';
import { sendDelivery } from './send.ts';
import type { TargetRules } from './target.ts';

export interface WebhookLoopOptions {
  database: Database;
  vault: Vault;
  hints: Hints;
  log: Logger;
  /** This replica, as the holder of the leadership. */
  replicaId: string;
  rules: TargetRules;
  /** Epoch milliseconds: receivers compare it with their clocks. */
  now: () => number;
  /** 0 to 1. */
  random: () => number;
  lookup?: LookupFunction;
}

const leadershipName = 'webhooks';
const leadershipMs = 10_000;
const renewMs = 3_000;
/** Without hints: for retries that become due. */
const tickMs = 1_000;
/** Looks begin at least this far apart: one then serves many events. */
const gapMs = 50;
const perWebhook = 4;
const maxAttempts = 256;

export class WebhookLoop {
  readonly #options: WebhookLoopOptions;
  readonly #unsubscribe: () => void;
  readonly #attempts = new Set<Promise<void>>();
  readonly #busy = new Map<string, number>();
  #leadership: Leadership | null = null;
  #renewedAtMs = Number.NEGATIVE_INFINITY;
  #isPoked = false;
  #isStopped = false;
  #wake: (() => void) | undefined;
  #running: Promise<void> | undefined;

  constructor(options: WebhookLoopOptions) {
    this.#options = options;
    this.#unsubscribe = options.hints.subscribe((hint) => {
      if (tellsOfEvents(hint)) this.#poke();
    });
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Ends after the attempts under way, and gives up the leadership. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#unsubscribe();
    this.#poke();
    await this.#running;
    await Promise.all(this.#attempts);
    if (this.#leadership === null) return;
    await releaseLeadership(this.#options.database, this.#leadership).catch((error) =>
      this.#options.log.warn(
        { err: error },
        'The lead of the webhooks was not given up; it expires by itself.',
      ),
    );
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      this.#isPoked = false;
      try {
        await this.#lead();
        if (this.#leadership !== null) await this.#look(this.#leadership);
      } catch (error) {
        this.#options.log.warn({ err: error }, 'Webhooks were not served; trying again.');
        this.#isPoked = false;
      }
      await this.#rest(gapMs, () => this.#isStopped);
      await this.#rest(tickMs, () => this.#isStopped || (this.#isPoked && this.#leadership !== null));
    }
  }

  async #lead(): Promise<void> {
    const nowMs = performance.now();
    if (nowMs - this.#renewedAtMs < renewMs) return;
    const { database, replicaId: holder } = this.#options;
    this.#leadership = await claimLeadership(database, {
      name: leadershipName,
      holder,
      leaseMs: leadershipMs,
    });
    this.#renewedAtMs = nowMs;
  }

  async #look(leadership: Leadership): Promise<void> {
    const { database } = this.#options;
    if (await fillOutbox(database)) this.#isPoked = true;
    const limit = maxAttempts - this.#attempts.size;
    if (limit === 0) return;
    const claimed = await claimDeliveries(database, leadership, { busy: this.#busy, perWebhook, limit });
    for (const delivery of claimed) this.#begin(delivery);
  }

  #begin(delivery: ClaimedDelivery): void {
    const { webhookId } = delivery;
    this.#busy.set(webhookId, (this.#busy.get(webhookId) ?? 0) + 1);
    const attempt = this.#attempt(delivery)
      .catch((error) =>
        this.#options.log.warn(
          { err: error, delivery: delivery.id },
          'An attempt was not settled; it is made again.',
        ),
      )
      .finally(() => {
        const left = (this.#busy.get(webhookId) ?? 1) - 1;
        if (left > 0) this.#busy.set(webhookId, left);
        else this.#busy.delete(webhookId);
        this.#attempts.delete(attempt);
        this.#poke();
      });
    this.#attempts.add(attempt);
  }

  async #attempt(delivery: ClaimedDelivery): Promise<void> {
    const { database, vault, hints, rules, now, random, lookup } = this.#options;
    const { id, url, kind, body, attemptCount, webhookId, sinceFirstMs } = delivery;
    const secret = vault.open(delivery.sealedSecret, webhookOwner(webhookId));
    const result = await sendDelivery(
      { id, url, kind, body, secret, attempt: attemptCount },
      { rules, nowMs: now(), ...(lookup === undefined ? {} : { lookup }) },
    );
    if (result.error === null) return settleDelivered(database, delivery, result);
    const pauseMs = retryPauseMs(attemptCount, { sinceFirstMs, random: random() });
    const isDisabled = await settleFailed(database, delivery, { result, pauseMs, giveUpAfterMs });
    if (isDisabled) hints.publish({ kind: 'event' });
  }

  #poke(): void {
    this.#isPoked = true;
    this.#wake?.();
  }

  /** Until the time is up, or `isOver` holds after a poke. */
  async #rest(ms: number, isOver: () => boolean): Promise<void> {
    if (isOver()) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        if (!isOver()) return;
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
  }
}
