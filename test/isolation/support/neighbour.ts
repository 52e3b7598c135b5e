// A machine beside the node, in a network namespace of its own: answers HTTP on port 8080 at each of its addresses, and
// DNS at the one given as argument: every name is 203.0.113.2. Run with nsenter by the lab.
import { createSocket } from 'node:dgram';
import { createServer } from 'node:http';

createServer((_request, response) => response.end('neighbour\n')).listen(8080, '::', () =>
  process.send?.('ready'),
);

const dns = createSocket('udp4');
dns.on('message', (question, from) => dns.send(answerTo(question), from.port, from.address));
// Bound to the address: an answer must come from where the question went.
const resolver = process.argv[2];
if (resolver !== undefined) dns.bind(53, resolver);

/** The question again, with one A record that points back at its name. */
function answerTo(question: Buffer): Buffer {
  const end = question.indexOf(0, 12) + 5;
  const isAddress = question.readUInt16BE(end - 4) === 1;
  const header = Buffer.from(question.subarray(0, 12));
  header.writeUInt16BE(0x8180, 2);
  header.writeUInt16BE(isAddress ? 1 : 0, 6);
  header.writeUInt32BE(0, 8);
  const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 2]);
  return Buffer.concat([header, question.subarray(12, end), ...(isAddress ? [record] : [])]);
}
