// A machine beside the node, in a network namespace of its own: answers HTTP on port 8080 at each of its addresses, and
// DNS at the one given as argument: every name is 203.0.113.2. Run with nsenter by the lab.
import { createSocket } from 'node:dgram';
import { createServer } from 'node:http';
import { answerTo } from './dns-answer.ts';

createServer((_request, response) => response.end('neighbour\n')).listen(8080, '::', () =>
  process.send?.('ready'),
);

const dns = createSocket('udp4');
dns.on('message', (question, from) => dns.send(answerTo(question), from.port, from.address));
// Bound to the address: an answer must come from where the question went.
const resolver = process.argv[2];
if (resolver !== undefined) dns.bind(53, resolver);
