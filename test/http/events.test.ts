// Events: listed, followed and resumed without loss or repetition, whatever order transactions commit in.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { appendLogChunks, defaultLogCap } from '../../src/db/run-logs.ts';
import { newId } from '../../src/main/ids.ts';
import type { Event, StreamTicket } from '../../src/protocol/event.ts';
import type { ListEnvelope } from '../../src/protocol/list.ts';
import { aJob, aNode } from '../support/builders.ts';
import { openResponse, openStream } from '../support/event-stream.ts';
import { exited, place, preparing, released, report, running } from '../support/runs.ts';
import { eventually, startTestServer } from '../support/server.ts';

const server = await startTestServer({ hasScheduler: false, maxStreams: 60 });
const { admin, database } = server;
const node = await aNode(server);

async function aPlacedJob(client = admin) {
  const job = await client.createJob(aJob());
  return { jobId: job.uuid, run: await place(server, job.uuid, node.id) };
}

/** As code past the API writes them. */
async function insertEvent(
  sql: { query(text: string, values: unknown[]): Promise<unknown> },
  jobId: string,
  kind: string,
) {
  await sql.query(
    `insert into job_events (created_at, job_id, kind, actor) values (flotilla_now(), $1, $2, '{}')`,
    [jobId, kind],
  );
}

test('events of a job are listed, and followed from its first', async () => {
  const { jobId, run } = await aPlacedJob();
  const stream = await openStream(admin, `/v1/jobs/${jobId}/events`);
  const { data: first } = await stream.next();
  assert.deepEqual([first.kind, first.from_status, first.to_status], ['submitted', null, 'PENDING']);
  assert.deepEqual([first.actor.kind, first.actor.public_key], ['key', admin.key.publicKey]);
  assert.equal((await stream.next()).data.kind, 'placed');
  await stream.next('ready');
  await report(server, run, preparing);
  await report(server, run, running);
  await admin.stopJob(jobId);
  const kinds = (await stream.take(3)).map(({ data }) => data.kind);
  assert.deepEqual(kinds, ['preparing', 'running', 'stop_requested']);
  stream.close();
  const list = await admin.ask<ListEnvelope<Event>>('GET', `/v1/jobs/${jobId}/events`);
  assert.deepEqual(
    list.data.map(({ kind }) => kind),
    ['stop_requested', 'running', 'preparing', 'placed', 'submitted'],
  );
  const ofAccount = await admin.ask<ListEnvelope<Event>>(
    'GET',
    `/v1/events?filter[job_uuid]=${jobId}&limit=2`,
  );
  assert.deepEqual([ofAccount.total, ofAccount.data[0]?.kind], [5, 'stop_requested']);
});

test('a submit is heard by who follows the account, once for an Idempotency-Key', async () => {
  const stream = await openStream(admin, '/v1/events');
  await stream.next('ready');
  const key = { 'Idempotency-Key': newId() };
  const job = await admin.createJob(aJob(), key);
  assert.equal((await admin.createJob(aJob(), key)).uuid, job.uuid);
  const other = await admin.createJob(aJob());
  const heard = (await stream.take(2)).map(({ data }) => [data.kind, data.job_uuid]);
  assert.deepEqual(heard, [
    ['submitted', job.uuid],
    ['submitted', other.uuid],
  ]);
  stream.close();
});

test('a transaction that commits late is not skipped, on the stream and after a resume', async () => {
  const { jobId } = await aPlacedJob();
  const [early, late] = [await database.dedicatedClient(), await database.dedicatedClient()];
  try {
    const stream = await openStream(admin, '/v1/events');
    await stream.next('ready');
    await late.query('begin');
    await insertEvent(late, jobId, 'given_first');
    await insertEvent(early, jobId, 'committed_first');
    const seen = await stream.next();
    assert.equal(seen.data.kind, 'committed_first');
    stream.close();
    await late.query('commit');
    const resumed = await openStream(admin, '/v1/events', { lastId: seen.id });
    const missed = await resumed.next();
    assert.equal(missed.data.kind, 'given_first');
    assert.ok(missed.data.id < seen.data.id, 'its id was given before the one that was seen');
    await resumed.next('ready');
    assert.deepEqual(resumed.messages, []);
    await late.query('begin');
    await insertEvent(late, jobId, 'given_third');
    await insertEvent(early, jobId, 'committed_third');
    assert.equal((await resumed.next()).data.kind, 'committed_third');
    await late.query('commit');
    assert.equal((await resumed.next()).data.kind, 'given_third');
    resumed.close();
  } finally {
    await early.end();
    await late.end();
  }
});

test('resumed after any event, everything comes exactly once', async () => {
  const { jobId } = await aPlacedJob();
  const writers = await Promise.all(Array.from({ length: 4 }, () => database.dedicatedClient()));
  const start = await openStream(admin, '/v1/events');
  await start.next('ready');
  const from = start.lastId;
  start.close();
  const perWriter = 400;
  const writing = Promise.all(
    writers.map(async (writer, at) => {
      for (let count = 0; count < perWriter; count += 4) {
        await writer.query('begin');
        for (let one = count; one < count + 4; one += 1) await insertEvent(writer, jobId, `w${at}_${one}`);
        await writer.query(count % 3 === 0 ? 'rollback' : 'commit');
      }
    }),
  );
  const kinds: string[] = [];
  let lastId = from;
  let isWritten = false;
  void writing.then(() => {
    isWritten = true;
  });
  for (let cut = 1; ; cut += 1) {
    const wasWritten = isWritten;
    const stream = await openStream(admin, '/v1/events', { lastId });
    // Cut off at odd places: within what is caught up, and while it is live.
    for (let count = 0; count < cut * 7; count += 1) {
      const message = await Promise.race([
        stream.next().catch(() => null),
        new Promise<null>((resolve) => setTimeout(resolve, 400, null)),
      ]);
      if (message === null) break;
      lastId = message.id;
      kinds.push(message.data.kind);
    }
    const isIdle = stream.messages.length === 0;
    stream.close();
    if (wasWritten && isIdle) break;
  }
  await writing;
  await Promise.all(writers.map((writer) => writer.end()));
  const rows = await database.query<{ kind: string }>(
    `select kind from job_events where job_id = $1 and kind like 'w%'`,
    [jobId],
  );
  assert.ok(rows.length > perWriter);
  assert.deepEqual([...kinds].sort(), rows.map(({ kind }) => kind).sort());
});

test('followers of one account share one reader, and hear of nobody else', async () => {
  const accountId = await server.createAccount('neighbour');
  const foreign = server.client(await server.createKey({ preset: 'admin', accountId }));
  const quiet = await openStream(foreign, '/v1/events');
  await quiet.next('ready');
  const streams = await Promise.all(Array.from({ length: 40 }, () => openStream(admin, '/v1/events')));
  for (const stream of streams) await stream.next('ready');
  const { jobId } = await aPlacedJob();
  for (const stream of streams) assert.equal((await stream.next()).data.job_uuid, jobId);
  const ids = new Set(streams.map(({ lastId }) => lastId));
  assert.equal(ids.size, 1, 'all were served by the same read');
  assert.deepEqual(quiet.messages, []);
  for (const stream of [...streams, quiet]) stream.close();
});

test('a client that does not read for a while costs no memory, holds up nobody, and misses nothing', async () => {
  const { jobId } = await aPlacedJob();
  const [slow, quick] = [await openStream(admin, '/v1/events'), await openStream(admin, '/v1/events')];
  for (const stream of [slow, quick]) await stream.next('ready');
  slow.response.pause();
  const count = 1_500;
  for (let from = 0; from < count; from += 100) {
    await database.query(
      `insert into job_events (created_at, job_id, kind, actor, detail)
       select flotilla_now(), $1, 'big', '{}', jsonb_build_object('n', n, 'text', repeat('x', 20000))
       from generate_series($2::integer, $3::integer) n`,
      [jobId, from, from + 99],
    );
  }
  const numbers = (messages: { data: { detail: { n: number } } }[]) =>
    messages.map(({ data }) => data.detail.n);
  const expected = Array.from({ length: count }, (_, n) => n);
  assert.deepEqual(numbers(await quick.take(count)), expected);
  slow.response.resume();
  assert.deepEqual(numbers(await slow.take(count)), expected);
  for (const stream of [slow, quick]) stream.close();
});

test('an account holds so many streams and no more', async () => {
  const accountId = await server.createAccount('greedy');
  const greedy = server.client(await server.createKey({ preset: 'admin', accountId }));
  const streams = await Promise.all(Array.from({ length: 60 }, () => openStream(greedy, '/v1/events')));
  const refused = await openResponse(greedy, '/v1/events');
  assert.equal(refused.statusCode, 429);
  assert.ok(Number(refused.headers['retry-after']) > 0);
  refused.resume();
  streams.pop()?.close();
  await eventually('a place is free', async () => {
    const response = await openResponse(greedy, '/v1/events');
    response.destroy();
    return response.statusCode === 200;
  });
  for (const stream of streams) stream.close();
});

test('a ticket opens one stream once, of its path alone, and goes with its key', async () => {
  const key = await server.createKey({ preset: 'consumer' });
  const browser = server.client(key);
  const { jobId } = await aPlacedJob();
  const buy = (path: string) => browser.ask<StreamTicket>('POST', '/v1/stream-tickets', { body: { path } });
  const { path, ticket } = await buy(`/v1/jobs/${jobId}/events`);
  const wrong = await openResponse(
    browser,
    `/v1/events?ticket=${(await buy(`/v1/jobs/${jobId}/events`)).ticket}`,
    {
      isSigned: false,
    },
  );
  assert.equal(wrong.statusCode, 403);
  const stream = await openStream(browser, path, { isSigned: false });
  const [first, second] = await stream.take(2);
  assert.deepEqual([first?.data.kind, second?.data.kind], ['submitted', 'placed']);
  const again = await openResponse(browser, path, { isSigned: false });
  assert.equal(again.statusCode, 403);
  assert.ok(ticket.length > 30);
  const next = await buy(`/v1/jobs/${jobId}/events`);
  const resumed = await openStream(
    browser,
    `${next.path}&last_event_id=${encodeURIComponent(second?.id ?? '')}`,
    {
      isSigned: false,
    },
  );
  await resumed.next('ready');
  assert.deepEqual(resumed.messages, []);
  const unused = await buy('/v1/events');
  await admin.ask('DELETE', `/v1/api-keys/${key.id}`);
  assert.equal((await stream.next('end')).data.reason, 'key_ended');
  assert.equal((await resumed.next('end')).data.reason, 'key_ended');
  const late = await openResponse(browser, unused.path, { isSigned: false });
  assert.equal(late.statusCode, 401);
  for (const response of [wrong, again, late]) response.resume();
});

test('what is no position is told', async () => {
  const response = await openResponse(admin, '/v1/events', { lastId: '17' });
  assert.equal(response.statusCode, 400);
  response.resume();
});

test('an id of a database that counts anew is told of, and the stream goes on', async () => {
  const stream = await openStream(admin, '/v1/events', { lastId: `${Date.now()}~900000000:900000000:` });
  await stream.next('gap');
  await stream.next('ready');
  const { jobId } = await aPlacedJob();
  assert.equal((await stream.next()).data.job_uuid, jobId);
  stream.close();
});

test('a log is followed to its last byte and resumed at a byte', async () => {
  const { jobId, run } = await aPlacedJob();
  let offset = 0;
  const write = async (text: string) => {
    const chunk = {
      runId: run.id,
      stream: 'stdout' as const,
      offset,
      bytes: Buffer.from(text),
      position: '',
    };
    await appendLogChunks(database, { nodeId: node.id, chunks: [chunk], cap: defaultLogCap });
    offset += Buffer.byteLength(text);
  };
  await report(server, run, preparing);
  await report(server, run, running);
  await write('one ');
  const streams = await Promise.all(
    Array.from({ length: 5 }, () => openStream(admin, `/v1/job-runs/${run.id}/logs`)),
  );
  for (const stream of streams) assert.equal((await stream.next()).data.text, 'one ');
  await write('twö ');
  const second = await Promise.all(streams.map((stream) => stream.next()));
  assert.deepEqual(new Set(second.map(({ data }) => data.text)), new Set(['twö ']));
  const resumed = await openStream(admin, `/v1/job-runs/${run.id}/logs`, { lastId: '4' });
  assert.equal((await resumed.next()).data.text, 'twö ');
  await write('three');
  await report(server, run, exited());
  await report(server, run, released);
  for (const stream of [...streams, resumed]) {
    const texts = [];
    let last = await stream.next();
    for (; !last.data.is_complete; last = await stream.next()) texts.push(last.data.text);
    assert.equal([...texts, last.data.text].join(''), 'three');
    assert.equal((await stream.next('end')).data.reason, 'complete');
  }
  assert.equal((await admin.getJob(jobId)).status, 'COMPLETED');
});

test('streams end when the server stops, and their requests do not hold it up', async () => {
  const replica = await server.startReplica();
  const client = server.client(server.adminKey, replica.url);
  const stream = await openStream(client, '/v1/events');
  await stream.next('ready');
  const stopping = replica.stop();
  assert.equal((await stream.next('end')).data.reason, 'stopping');
  await stopping;
});
