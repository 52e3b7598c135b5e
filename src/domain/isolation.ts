// The firewall rules that keep containers from the host, from each other and from private networks, and how to judge
// what stands in the kernel against them.
//
// Packets from our bridge enter our chains before anything else may accept them. What the chains do not drop goes on to
// the rules of engine and operator, which may refuse more.

export type AddressFamily = 4 | 6;

/** What is kept apart by one bridge: nodes that open private networks have another than those that do not. */
export interface IsolationPlan {
  networkName: string;
  bridge: string;
  inputChain: string;
  forwardChain: string;
  isLanAllowed: boolean;
}

export interface ChainRules {
  input: readonly string[];
  forward: readonly string[];
}

/** Bridges of every plan start so: runs of one never reach runs of the other. */
const anyBridge = 'flotilla+';

export function isolationPlan(isLanAllowed: boolean): IsolationPlan {
  const name = isLanAllowed ? 'flotilla-lan' : 'flotilla';
  const chain = name.toUpperCase();
  return {
    networkName: name,
    bridge: `${name}0`,
    inputChain: `${chain}-INPUT`,
    forwardChain: `${chain}-FORWARD`,
    isLanAllowed,
  };
}

/**
 * Never open. Metadata services give out credentials: link-local, Oracle's 192.0.0.192, Azure's 168.63.129.16, Alibaba's
 * 100.100.100.200, and the unique local ones of AWS and Google. The rest is no unicast address of another machine.
 */
const closedRanges: Record<AddressFamily, readonly string[]> = {
  4: [
    '169.254.0.0/16',
    '192.0.0.0/24',
    '168.63.129.16/32',
    '100.100.100.200/32',
    '0.0.0.0/8',
    '127.0.0.0/8',
    '224.0.0.0/4',
    '240.0.0.0/4',
  ],
  6: ['fd00:ec2::/32', 'fd20:ce::/32', 'fe80::/10', 'fec0::/10', 'ff00::/8'],
};

/** Open with `--allow-lan`: RFC 1918, carrier-grade NAT, benchmark networks, unique local addresses. */
const privateRanges: Record<AddressFamily, readonly string[]> = {
  4: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', '198.18.0.0/15'],
  6: ['fc00::/7'],
};

/** Router and neighbour discovery: without it IPv6 does not find its gateway. */
const discoveryTypes = [133, 135, 136];

/** `resolvers`: name servers that the engine asks from inside the container's network, of this family. */
export function chainRules(
  plan: IsolationPlan,
  family: AddressFamily,
  resolvers: readonly string[],
): ChainRules {
  const { bridge, isLanAllowed } = plan;
  // Only answers: a connection that a container opened while the rules were away does not live on.
  const answers = '-m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY -j RETURN';
  const names = resolvers.flatMap((address) =>
    ['udp', 'tcp'].map((protocol) => `-d ${address} -p ${protocol} -m ${protocol} --dport 53 -j RETURN`),
  );
  const discovery = discoveryTypes.map((type) => `-p ipv6-icmp -m icmp6 --icmpv6-type ${type} -j RETURN`);
  const ranges = [...closedRanges[family], ...(isLanAllowed ? [] : privateRanges[family])];
  return {
    input: [answers, ...(family === 6 ? discovery : []), ...names, '-j DROP'],
    forward: [
      `-i ${bridge} -o ${anyBridge} -j DROP`,
      // Into a container: answers, and what the engine publishes; not a neighbour that routes through this machine.
      `-o ${bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN`,
      `-o ${bridge} -m conntrack --ctstate DNAT -j RETURN`,
      `-o ${bridge} -j DROP`,
      answers,
      ...names,
      ...ranges.map((range) => `-d ${range} -j DROP`),
      // A port that the host publishes for something else is a service of the host.
      '-m conntrack --ctstate DNAT -j DROP',
    ],
  };
}

/** Where our chains are entered from, in the order in which the jumps stand. */
export function jumpRules({ bridge, inputChain, forwardChain }: IsolationPlan): Record<string, string[]> {
  const forward = [`-i ${bridge} -j ${forwardChain}`, `-o ${bridge} -j ${forwardChain}`];
  return { INPUT: [`-i ${bridge} -j ${inputChain}`], FORWARD: forward, 'DOCKER-USER': forward };
}

/** Rules of a chain as `iptables -S` prints them, without `-A CHAIN`; null when there is no such chain. */
export function rulesOf(listing: string, chain: string): string[] | null {
  const lines = listing.split('\n');
  const isThere = lines.some((line) => line === `-N ${chain}` || line.startsWith(`-P ${chain} `));
  const prefix = `-A ${chain} `;
  const rules = lines
    .filter((line) => line.startsWith(prefix))
    .map((line) => line.slice(prefix.length).trim());
  return isThere ? rules : null;
}

/** Our chains as they stand; null where one is missing. Compared with what stood right after they were written. */
export function ownChains(listing: string, plan: IsolationPlan): string | null {
  const input = rulesOf(listing, plan.inputChain);
  const forward = rulesOf(listing, plan.forwardChain);
  return input === null || forward === null ? null : JSON.stringify([input, forward]);
}

/** A sentence about the first jump that is missing or comes too late; null when packets pass our chains first. */
export function jumpFault(listing: string, plan: IsolationPlan): string | null {
  for (const [chain, jumps] of Object.entries(jumpRules(plan))) {
    const rules = rulesOf(listing, chain);
    if (rules === null && chain === 'DOCKER-USER') continue;
    for (const jump of jumps) {
      if (!rules?.includes(jump)) return `The jump "${jump}" is missing in ${chain}.`;
      if (!comesFirst(listing, chain, jump)) return `Other rules stand before "${jump}" in ${chain}.`;
    }
  }
  return null;
}

/** A sentence about a jump that stands twice, as two agents leave it that start at once; harmless, but untidy. */
export function jumpTwice(listing: string, plan: IsolationPlan): string | null {
  for (const [chain, jumps] of Object.entries(jumpRules(plan))) {
    const rules = rulesOf(listing, chain) ?? [];
    const twice = jumps.find((jump) => rules.filter((rule) => rule === jump).length > 1);
    if (twice !== undefined) return `The jump "${twice}" stands twice in ${chain}.`;
  }
  return null;
}

/** The engine puts DOCKER-USER on top whenever it changes a network; the jump stands there too. */
function comesFirst(listing: string, chain: string, jump: string): boolean {
  for (const rule of rulesOf(listing, chain) ?? []) {
    if (rule === jump) return true;
    if (rule === '-j DOCKER-USER') return comesFirst(listing, 'DOCKER-USER', jump);
    if (!/^-[io] flotilla\S* -j FLOTILLA-\S+$/.test(rule)) return false;
  }
  return false;
}

/** Input for `iptables-restore --noflush`, applied as one: chains are replaced, jumps moved to the top. */
export function restoreScript(listing: string, plan: IsolationPlan, rules: ChainRules): string {
  const { inputChain, forwardChain } = plan;
  const jumps = Object.entries(jumpRules(plan)).flatMap(([chain, wanted]) => {
    const standing = rulesOf(listing, chain);
    if (standing === null) return [];
    const old = standing.filter((rule) => wanted.includes(rule)).map((rule) => `-D ${chain} ${rule}`);
    return [...old, ...wanted.map((rule, index) => `-I ${chain} ${index + 1} ${rule}`)];
  });
  return [
    '*filter',
    `:${inputChain} - [0:0]`,
    `:${forwardChain} - [0:0]`,
    ...rules.input.map((rule) => `-A ${inputChain} ${rule}`),
    ...rules.forward.map((rule) => `-A ${forwardChain} ${rule}`),
    ...jumps,
    'COMMIT',
    '',
  ].join('\n');
}
