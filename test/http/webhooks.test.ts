// Webhooks: signed deliveries to real receivers, retried, settled once, and kept from addresses that are not public.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo, LookupFunction } from 'node:net';
import { after, test } from 'node:test';
import { fillOutbox } from '../../src/db/webhook-outbox.ts';
import { newId } from '../../src/main/ids.ts';
import type { Event } from '../../src/protocol/event.ts';
import type { ListEnvelope } from '../../src/protocol/list.ts';
import type { Webhook, WebhookDelivery } from '../../src/protocol/webhook.ts';
import { sendDelivery } from '../../src/webhooks/send.ts';
import { createTargetRules } from '../../src/webhooks/target.ts';
import { aJob, aNode } from '../support/builders.ts';
import { place, preparing, report, running } from '../support/runs.ts';
import { eventually, startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false, allowedWebhooks: ['127.0.0.1'] });
const { admin, database } = server;
const node = await aNode(server);

interface Received {
  headers: IncomingHttpHeaders;
  body: string;
}

const receivers: Server[] = [];
after(() => {
  for (const receiver of receivers) {
    receiver.closeAllConnections();
    receiver.close();
  }
});

/** A real receiver; `answer` gives the status of each request, null leaves it waiting. */
async function aReceiver(answer: (count: number) => number | null = () => 200, location?: string) {
  const received: Received[] = [];
  let open = 0;
  const most = { open: 0 };
  const receiver = createServer((request, response) => {
    const parts: Buffer[] = [];
    open += 1;
    most.open = Math.max(most.open, open);
    response.on('close', () => {
      open -= 1;
    });
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      received.push({ headers: request.headers, body: Buffer.concat(parts).toString() });
      const status = answer(received.length);
      if (status === null) return;
      response.writeHead(status, location === undefined ? {} : { location });
      response.end('thanks');
    });
  });
  receivers.push(receiver);
  receiver.listen(0, '127.0.0.1');
  await once(receiver, 'listening');
  const { port } = receiver.address() as AddressInfo;
  return { received, most, url: `http://127.0.0.1:${port}/hook` };
}

async function aWebhook(url: string, kinds: string[] = []): Promise<Webhook & { secret: string }> {
  const made = await admin.ask<Webhook>('POST', '/v1/webhooks', { body: { url, kinds } });
  const { secret = '' } = made;
  assert.match(secret, /^whsec_\w{40}$/);
  return { ...made, secret };
}

async function deliveriesOf(webhook: Webhook): Promise<WebhookDelivery[]> {
  const list = await admin.ask<ListEnvelope<WebhookDelivery>>(
    'GET',
    `/v1/webhooks/${webhook.uuid}/deliveries?limit=50`,
  );
  return list.data;
}

async function aRunningJob() {
  const job = await admin.createJob(aJob());
  const run = await place(server, job.uuid, node.id);
  await report(server, run, preparing);
  await report(server, run, running);
  return job.uuid;
}

const change = (webhook: Webhook, body: object) =>
  admin.ask<Webhook>('PUT', `/v1/webhooks/${webhook.uuid}`, { body });

test('events are delivered once each, signed over time and body', async () => {
  const { url, received } = await aReceiver();
  const webhook = await aWebhook(url, ['placed', 'running']);
  const job = await aRunningJob();
  await eventually('both came', async () => received.length === 2);
  for (const { headers, body } of received) {
    const [, seconds, mac] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(String(headers['flotilla-signature'])) ?? [];
    assert.equal(createHmac('sha256', webhook.secret).update(`${seconds}.${body}`).digest('hex'), mac);
    assert.ok(Math.abs(Number(seconds) * 1000 - Date.now()) < 60_000);
    const event = JSON.parse(body) as Event;
    assert.deepEqual([event.job_uuid, event.kind], [job, headers['flotilla-event']]);
  }
  assert.deepEqual(received.map(({ body }) => JSON.parse(body).kind).sort(), ['placed', 'running']);
  const settled = await eventually('both are settled', async () => {
    const all = await deliveriesOf(webhook);
    return all.every(({ status }) => status === 'delivered') && all;
  });
  assert.deepEqual(
    settled.map(({ response_status: status, response_excerpt: text, attempt_count: count }) => [
      status,
      text,
      count,
    ]),
    [
      [200, 'thanks', 1],
      [200, 'thanks', 1],
    ],
  );
  const shown = await admin.ask<Webhook>('GET', `/v1/webhooks/${webhook.uuid}`);
  assert.equal(shown.secret, undefined, 'the secret is shown once');
  const [row] = await database.query<{ text: string }>(
    'select w::text as text from webhooks w where id = $1',
    [webhook.uuid],
  );
  assert.ok(
    !row?.text.includes(webhook.secret.slice(6)) &&
      !row?.text.includes(Buffer.from(webhook.secret).toString('hex')),
  );
  await admin.ask('DELETE', `/v1/webhooks/${webhook.uuid}`);
});

test('a failed delivery is tried again under the same id, and a rotated secret signs it', async () => {
  const { url, received } = await aReceiver((count) => (count === 1 ? 500 : 204));
  const webhook = await aWebhook(url, ['placed']);
  await aRunningJob();
  await eventually('the first attempt failed', async () => (await deliveriesOf(webhook))[0]?.error);
  const [failed] = await deliveriesOf(webhook);
  assert.deepEqual([failed?.status, failed?.response_status], ['pending', 500]);
  const pauseMs = Date.parse(failed?.next_attempt_at ?? '') - Date.parse(failed?.last_attempt_at ?? '');
  assert.ok(pauseMs >= 5_000 && pauseMs < 8_000, `the pause is ${pauseMs} ms`);
  const { secret = '' } = await change(webhook, { rotate_secret: true });
  assert.notEqual(secret, webhook.secret);
  await database.query(
    'update webhook_deliveries set next_attempt_at = flotilla_now() where webhook_id = $1',
    [webhook.uuid],
  );
  await eventually(
    'the second attempt delivered',
    async () => (await deliveriesOf(webhook))[0]?.status === 'delivered',
  );
  const [first, second] = received;
  assert.equal(first?.headers['flotilla-delivery'], second?.headers['flotilla-delivery']);
  assert.equal(first?.body, second?.body);
  assert.equal(second?.headers['flotilla-attempt'], '2');
  const [, seconds, mac] = /^t=(\d+),v1=(.*)$/.exec(String(second?.headers['flotilla-signature'])) ?? [];
  assert.equal(createHmac('sha256', secret).update(`${seconds}.${second?.body}`).digest('hex'), mac);
  const path = `/v1/webhooks/${webhook.uuid}/deliveries/${failed?.uuid}/redeliver`;
  assert.equal((await admin.ask<WebhookDelivery>('POST', path, { body: {} })).status, 'pending');
  await eventually('it came once more', async () => received.length === 3);
  assert.equal(received[2]?.headers['flotilla-delivery'], failed?.uuid);
  await admin.ask('DELETE', `/v1/webhooks/${webhook.uuid}`);
});

test('a test delivery goes out at once, and a disabled webhook sends nothing', async () => {
  const { url, received } = await aReceiver();
  const webhook = await aWebhook(url);
  await admin.ask('POST', `/v1/webhooks/${webhook.uuid}/test`, { body: {} });
  await eventually('it came', async () => received.length === 1);
  assert.equal(received[0]?.headers['flotilla-event'], 'webhook_test');
  assert.equal((await change(webhook, { is_enabled: false })).is_enabled, false);
  const refusal = await admin.refusal('POST', `/v1/webhooks/${webhook.uuid}/test`, { body: {} });
  assert.equal(refusal.status, 409);
  await aRunningJob();
  await change(webhook, { is_enabled: true, kinds: ['placed'] });
  await aRunningJob();
  await eventually('what came after it was enabled is there', async () => received.length === 2);
  assert.equal((await deliveriesOf(webhook)).length, 2);
  await admin.ask('DELETE', `/v1/webhooks/${webhook.uuid}`);
});

test('a receiver that hangs holds up no other, and gets one attempt at a time', async () => {
  const [dead, alive] = [await aReceiver((count) => (count === 1 ? 500 : null)), await aReceiver()];
  const [deadHook, aliveHook] = [await aWebhook(dead.url), await aWebhook(alive.url, ['placed'])];
  await admin.ask('POST', `/v1/webhooks/${deadHook.uuid}/test`, { body: {} });
  await eventually('it is known to fail', async () => (await deliveriesOf(deadHook))[0]?.error);
  for (let jobs = 0; jobs < 3; jobs += 1) await aRunningJob();
  await eventually('the other one has all', async () => alive.received.length === 3, 5_000);
  assert.equal(dead.most.open, 1);
  for (const { uuid } of [deadHook, aliveHook]) await admin.ask('DELETE', `/v1/webhooks/${uuid}`);
});

test('after a day of failures the delivery is given up and the webhook disabled, with an event', async () => {
  const { url } = await aReceiver(() => 503);
  const webhook = await aWebhook(url);
  await admin.ask('POST', `/v1/webhooks/${webhook.uuid}/test`, { body: {} });
  await eventually('it failed', async () => (await deliveriesOf(webhook))[0]?.error);
  await database.query(
    `with hook as (update webhooks set failing_since = failing_since - interval '25 hours' where id = $1)
     update webhook_deliveries set first_attempt_at = first_attempt_at - interval '25 hours',
       next_attempt_at = flotilla_now() where webhook_id = $1`,
    [webhook.uuid],
  );
  const disabled = await eventually('it is disabled', async () => {
    const shown = await admin.ask<Webhook>('GET', `/v1/webhooks/${webhook.uuid}`);
    return !shown.is_enabled && shown;
  });
  assert.match(disabled.disabled_reason ?? '', /503/);
  assert.equal((await deliveriesOf(webhook))[0]?.status, 'failed');
  const { data } = await admin.ask<ListEnvelope<Event>>('GET', '/v1/events?limit=5');
  const event = data.find(({ kind }) => kind === 'webhook_disabled');
  assert.equal(event?.detail?.webhook_uuid, webhook.uuid);
  await admin.ask('DELETE', `/v1/webhooks/${webhook.uuid}`);
});

test('the outbox is filled once by many at the same time, late commits included', async () => {
  const webhook = await aWebhook('https://192.0.2.1/hook', ['odd']);
  const late = await database.dedicatedClient();
  const job = await admin.createJob(aJob());
  const insert = `insert into job_events (created_at, job_id, kind, actor) values (flotilla_now(), $1, 'odd', '{}')`;
  await late.query('begin');
  await late.query(insert, [job.uuid]);
  await Promise.all(
    Array.from({ length: 20 }, async () => {
      await database.query(insert, [job.uuid]);
      await fillOutbox(database);
    }),
  );
  await late.query('commit');
  await late.end();
  while (await fillOutbox(database));
  const [row] = await eventually('all are there', async () => {
    const rows = await database.query<{ count: number; events: number }>(
      'select count(*) as count, count(distinct event_id) as events from webhook_deliveries where webhook_id = $1',
      [webhook.uuid],
    );
    return (rows[0]?.count ?? 0) >= 21 && rows;
  });
  assert.deepEqual(row, { count: 21, events: 21 });
  await admin.ask('DELETE', `/v1/webhooks/${webhook.uuid}`);
});

test('addresses that are not public, other ports and schemes are refused when a webhook is made', async () => {
  const refused = [
    ...[
      'http://example.com/',
      'ftp://example.com/',
      'https://user:pass@example.com/',
      'https://example.com:22/',
    ],
    ...['https://10.0.0.1/', 'https://169.254.169.254/', 'https://[::1]/', 'https://[::ffff:10.0.0.1]/'],
    ...['https://[fd00::1]/', 'https://0/', 'https://2130706434/', 'https://192.168.1.1:8443/', 'nonsense'],
  ];
  for (const url of refused)
    assert.ok((await admin.issues('POST', '/v1/webhooks', { body: { url } })).has('url'), url);
});

test('names are checked where they lead when connected, every address of them', async () => {
  const rules = createTargetRules([]);
  const attempt = (addresses: string[], url = 'https://hooks.example.com/') => {
    const found = addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
    const lookup: LookupFunction = (_host, _options, done) => done(null, found);
    const delivery = { id: newId(), url, kind: 'x', body: '{}', secret: 's', attempt: 1 };
    return sendDelivery(delivery, { rules, nowMs: Date.now(), lookup });
  };
  for (const address of [
    '127.0.0.1',
    '10.1.2.3',
    '::1',
    '::ffff:127.0.0.1',
    'fe80::1',
    '100.64.0.1',
    '64:ff9b::7f00:1',
  ])
    assert.match((await attempt([address])).error ?? '', /is not public/, address);
  assert.match(
    (await attempt(['93.184.216.34', '127.0.0.1'])).error ?? '',
    /127\.0\.0\.1, which is not public/,
  );
});

test('the address that was checked is the one that is connected to, and redirects are not followed', async () => {
  const elsewhere = await aReceiver();
  const { url, received } = await aReceiver(() => 302, elsewhere.url);
  const named = url.replace('127.0.0.1', 'hooks.example.com');
  const asked: string[] = [];
  const lookup: LookupFunction = (host, _options, done) => {
    asked.push(host);
    done(null, [{ address: '127.0.0.1', family: 4 }]);
  };
  const delivery = { id: newId(), url: named, kind: 'x', body: '{}', secret: 's', attempt: 1 };
  const result = await sendDelivery(delivery, {
    rules: createTargetRules(['hooks.example.com']),
    nowMs: Date.now(),
    lookup,
  });
  assert.match(result.error ?? '', /302, and redirects are not followed/);
  assert.deepEqual(asked, ['hooks.example.com']);
  assert.equal(received.length, 1);
  assert.equal(elsewhere.received.length, 0);
  assert.equal(received[0]?.headers.host, new URL(named).host);
});
