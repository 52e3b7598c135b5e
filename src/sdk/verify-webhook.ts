// Checks that a webhook's delivery was signed by Flotilla, a moment ago, and reads its event.
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Event } from '../protocol/event.ts';

export type WebhookRequest = {
  /** As it was shown when the webhook was made: `whsec_…`. */
  secret: string;
  /** The bytes or the text as they came, before anything parsed them. */
  body: Uint8Array | string;
  /** The header `Flotilla-Signature`. */
  signature: string | readonly string[] | null | undefined;
  /** How far its time may be from this clock's; 5 min when absent. */
  toleranceMs?: number;
  /** Epoch milliseconds; now when absent. */
  nowMs?: number;
};

const defaultToleranceMs = 5 * 60_000;

/** Answer 401: it is not from Flotilla, or not fresh. */
export class WebhookRefused extends Error {
  override name = 'WebhookRefused';
}

/** The event of a genuine delivery; throws `WebhookRefused` for any other. A delivery may come again: see `Flotilla-Delivery`. */
export function verifyWebhook(request: WebhookRequest): Event {
  const { secret, body, signature, toleranceMs = defaultToleranceMs, nowMs = Date.now() } = request;
  const header = typeof signature === 'string' ? signature : (signature?.[0] ?? '');
  const [, seconds, mac] = /^t=(\d{1,12}),v1=([0-9a-f]{64})$/.exec(header) ?? [];
  if (seconds === undefined || mac === undefined)
    throw new WebhookRefused('There is no Flotilla-Signature of the form t=<seconds>,v1=<hex>.');
  const expected = createHmac('sha256', secret).update(`${seconds}.`).update(body).digest();
  if (!timingSafeEqual(expected, Buffer.from(mac, 'hex')))
    throw new WebhookRefused('The signature is wrong: check the secret, and that the body is as it came.');
  if (Math.abs(nowMs - Number(seconds) * 1000) > toleranceMs)
    throw new WebhookRefused('The delivery was signed too long ago: check the clock, or it was replayed.');
  return JSON.parse(typeof body === 'string' ? body : Buffer.from(body).toString()) as Event;
}
