// A run resolves a name through a server on the host's loopback; prints its log. Started where /etc/resolv.conf names it.
import { createSocket } from 'node:dgram';
import { shell } from '../../agent/support/control-plane.ts';
import { withNode } from '../../agent/support/node.ts';
import { answerTo } from './dns-answer.ts';

const dns = createSocket('udp4');
dns.on('message', (question, from) => dns.send(answerTo(question), from.port, from.address));
dns.bind(53, '127.0.0.1');
await withNode(async ({ plane }) => {
  const run = plane.want(shell('nslookup answer.test 127.0.0.11'));
  await plane.event(run, 'released');
  console.log(plane.hellos[0]?.inventory.isolation, plane.logOf(run));
});
dns.close();
