// Receives a webhook's deliveries and takes only those that Flotilla signed: WEBHOOK_SECRET=whsec_… webhook-receiver.ts [PORT]
import { createServer } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { verifyWebhook, WebhookRefused } from 'flotilla/sdk';

const { WEBHOOK_SECRET: secret = '' } = process.env;
if (secret === '')
  throw new Error('Set WEBHOOK_SECRET to the secret that was shown when the webhook was made.');
const [port = '8080'] = process.argv.slice(2);
/** A delivery whose answer was lost comes again under the same id. */
const seen = new Set<string>();

const receiver = createServer(async (request, response) => {
  const { 'flotilla-signature': signature, 'flotilla-delivery': delivery } = request.headers;
  try {
    const event = verifyWebhook({ secret, signature, body: await buffer(request) });
    if (!seen.has(String(delivery))) console.log(event.kind, event.job_uuid, event.to_status);
    seen.add(String(delivery));
    response.writeHead(204).end();
  } catch (error) {
    console.log(`refused: ${error instanceof Error ? error.message : error}`);
    response.writeHead(error instanceof WebhookRefused ? 401 : 500).end();
  }
});
receiver.listen(Number(port), '127.0.0.1', () => console.log('listening', receiver.address()));
