// An agent as a process of its own: node agent-process.ts SERVER_URL NODE_UUID.
import { randomUUID } from 'node:crypto';
import { runAgent } from '../../../src/agent/agent.ts';

const [url = '', nodeUuid = ''] = process.argv.slice(2);
const abort = new AbortController();
process.on('SIGTERM', () => abort.abort());
const quiet = () => {};

await runAgent({
  nodeKey: { public_key: 'pk_node', secret_key: 'sk_node', url, node_uuid: nodeUuid },
  agentVersion: 'test',
  sessionUuid: randomUUID(),
  engineSocket: null,
  signHeaders: () => ({}),
  allowedRegistries: ['127.0.0.0/8'],
  log: { debug: quiet, info: quiet, warn: quiet, error: (fields, message) => console.error(message, fields) },
  signal: abort.signal,
});
