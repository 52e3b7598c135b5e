// The rules as they stand in a listing: what is found missing, late or changed, and what a script puts right.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  chainRules,
  isolationPlan,
  jumpFault,
  jumpRules,
  ownChains,
  restoreScript,
  rulesOf,
} from './isolation.ts';
import { storageLimitBytes } from './isolation-storage.ts';

const plan = isolationPlan(false);
const lanPlan = isolationPlan(true);

/** What `iptables -S` prints after the script was applied to what it printed before. */
function apply(listing: string, script: string): string {
  const chains = new Map<string, string[]>();
  for (const line of listing.split('\n')) {
    const [, chain = ''] = /^-[PN] (\S+)/.exec(line) ?? [];
    if (chain !== '') chains.set(chain, rulesOf(listing, chain) ?? []);
  }
  for (const line of script.split('\n')) {
    const [, declared] = /^:(\S+) /.exec(line) ?? [];
    if (declared !== undefined) chains.set(declared, []);
    const [, verb, chain = '', rest = ''] = /^-([ADI]) (\S+) (.*)$/.exec(line) ?? [];
    const rules = chains.get(chain);
    if (verb === 'A') rules?.push(rest);
    else if (verb === 'I') rules?.splice(Number.parseInt(rest, 10) - 1, 0, rest.replace(/^\d+ /, ''));
    else if (verb === 'D') assert.ok(rules?.includes(rest) && rules.splice(rules.indexOf(rest), 1));
  }
  return aListing(Object.fromEntries(chains));
}

function aListing(chains: Record<string, string[]>): string {
  const heads = Object.keys(chains).map((chain) =>
    chain === 'INPUT' || chain === 'FORWARD' ? `-P ${chain} ACCEPT` : `-N ${chain}`,
  );
  const rules = Object.entries(chains).flatMap(([chain, own]) => own.map((rule) => `-A ${chain} ${rule}`));
  return `${[...heads, ...rules].join('\n')}\n`;
}

const bare = aListing({
  INPUT: [],
  FORWARD: ['-j DOCKER-USER', '-i docker0 -j ACCEPT'],
  'DOCKER-USER': ['-j RETURN'],
});
const rules = chainRules(plan, 4, ['10.0.0.53']);
const sound = apply(bare, restoreScript(bare, plan, rules));

test('a bare machine has a fault, and the script takes it away', () => {
  assert.match(jumpFault(bare, plan) ?? '', /missing in INPUT/);
  assert.equal(ownChains(bare, plan), null);
  assert.equal(jumpFault(sound, plan), null);
  assert.deepEqual(JSON.parse(ownChains(sound, plan) ?? ''), [rules.input, rules.forward]);
});

test('both kinds of agent on one machine find their rules sound', () => {
  const both = apply(sound, restoreScript(sound, lanPlan, chainRules(lanPlan, 4, [])));
  assert.equal(jumpFault(both, plan), null);
  assert.equal(jumpFault(both, lanPlan), null);
});

test("rules of others before ours are a fault; the engine's own order is none", () => {
  const late = sound.replace('-A INPUT -i', '-A INPUT -s 172.16.0.0/12 -j ACCEPT\n-A INPUT -i');
  assert.match(jumpFault(late, plan) ?? '', /Other rules stand before .* in INPUT/);
  const reordered = aListing({
    INPUT: jumpRules(plan).INPUT ?? [],
    FORWARD: ['-j DOCKER-USER', '-i flotilla0 ! -o flotilla0 -j ACCEPT', ...(jumpRules(plan).FORWARD ?? [])],
    'DOCKER-USER': [...(jumpRules(plan).FORWARD ?? []), '-j RETURN'],
  });
  assert.equal(jumpFault(reordered, plan), null);
  const unguarded = reordered.replace('-A DOCKER-USER -i', '-A DOCKER-USER -j ACCEPT\n-A DOCKER-USER -i');
  assert.match(jumpFault(unguarded, plan) ?? '', /Other rules stand before .* in FORWARD/);
});

test('whatever stands, the script leaves our jumps first, once, and the rules of others in order', () => {
  const foreign = ['-j DOCKER-USER', '-i docker0 -j ACCEPT', '-s 10.0.0.0/8 -j ACCEPT', '-j RETURN'];
  const jumps = [jumpRules(plan), jumpRules(lanPlan)].flatMap((it) => Object.values(it).flat());
  const chain = fc.array(fc.constantFrom(...foreign, ...jumps), { maxLength: 8 });
  fc.assert(
    fc.property(chain, chain, chain, (input, forward, user) => {
      const before = aListing({
        INPUT: input,
        FORWARD: forward,
        'DOCKER-USER': user.filter((it) => it !== '-j DOCKER-USER'),
      });
      const after = apply(before, restoreScript(before, plan, rules));
      assert.equal(jumpFault(after, plan), null);
      for (const [name, wanted] of Object.entries(jumpRules(plan))) {
        const isOurs = (rule: string) => wanted.includes(rule);
        assert.deepEqual(rulesOf(after, name)?.slice(0, wanted.length), wanted);
        assert.deepEqual(
          rulesOf(after, name)?.slice(wanted.length),
          rulesOf(before, name)?.filter((it) => !isOurs(it)),
        );
      }
    }),
  );
});

test('metadata and other bridges stay closed with private networks open', () => {
  const { input, forward } = chainRules(lanPlan, 4, []);
  assert.equal(input.at(-1), '-j DROP');
  assert.equal(forward[0], '-i flotilla-lan0 -o flotilla+ -j DROP');
  assert.ok(forward.includes('-d 169.254.0.0/16 -j DROP'));
  assert.ok(!forward.includes('-d 10.0.0.0/8 -j DROP'));
  assert.ok(chainRules(plan, 4, []).forward.includes('-d 10.0.0.0/8 -j DROP'));
});

test('a run may fill its reservation or its share of the disk, whichever is more, and never less than it reserved', () => {
  const node = { cpuCount: 8, ramBytes: 64e9, gpuCount: 0, storageBytes: 800e9 };
  const limit = (cpuCount: number, storageBytes: number, of = node) =>
    storageLimitBytes({ cpuCount, ramBytes: 0, gpuCount: 0, storageBytes }, of);
  assert.equal(limit(2, 0), 200e9);
  assert.equal(limit(2, 300e9), 300e9);
  assert.equal(limit(0, 0), 25e9);
  assert.equal(limit(0, 0, { ...node, storageBytes: 8e9 }), 1e9);
  assert.equal(limit(0, 0, { ...node, storageBytes: 64e6 }), 64e6);
});
