// Random create bodies, and each as a recipe: its fields spread over payload, overrides and inputs, so that cook must join them.
import fc from 'fast-check';
import type { CreateRecipeBody, RecipeInputField } from '../../../src/protocol/recipe.ts';
import { regionCodes } from '../../../src/protocol/schema.ts';

type Json = Record<string, unknown>;

export interface CookCase {
  /** What POST /v1/jobs gets. */
  body: Json;
  recipe: CreateRecipeBody;
  /** What cook gets, which is to make the same job. */
  cook: Json;
  /** Env variables that a secret fills. */
  secretNames: string[];
}

const text = fc
  .oneof(
    { weight: 4, arbitrary: fc.string({ minLength: 1, maxLength: 12, unit: 'grapheme' }) },
    { weight: 1, arbitrary: fc.constantFrom('$', '${a}', '$${a}', 'x${HOME}y', '$$', '{a}', '***x') },
  )
  .filter((value) => !value.includes('\0') && value.isWellFormed());
const word = fc.stringMatching(/^[a-z][a-z0-9]{0,6}$/);
const optional = <T>(value: fc.Arbitrary<T>) => fc.option(value, { freq: 2, nil: undefined });
const sshKey = word.map((name) => `ssh-ed25519 AAAA${name} me@${name}`);
const gpuUuids = ['0198ac1c-7063-4be8-bb94-57a5bd83548e', '0198ac1c-7063-4be8-bb94-57a5bd83548f'];

/** Each group of fields must go together: what is in one of them depends on the others. */
const jobGroups = {
  task: fc.oneof(
    fc.record({ task: fc.constant('BATCH'), max_timeout_run_ms: fc.integer({ min: 60_000, max: 1e9 }) }),
    fc.record({ max_timeout_run_ms: fc.integer({ min: 60_000, max: 1e9 }) }),
    fc.record({
      task: fc.constant('PERSISTENT'),
      on_node_lost: optional(fc.constantFrom('replace', 'fail')),
    }),
  ),
  gpu: fc.oneof(
    fc.constant({}),
    fc.record({ gpu_name: word }),
    fc.record({ gpu_registry_uuid: fc.constantFrom(...gpuUuids) }),
  ),
};
const jobFields = {
  title: text,
  description: text,
  cpu_count: fc.oneof(fc.integer({ min: 0, max: 64 }), fc.constantFrom(0.5, 1.25)),
  gpu_count: fc.integer({ min: 0, max: 8 }),
  min_ram_gb: fc.constantFrom(0, 1, 2.5, 64),
  min_storage_gb: fc.integer({ min: 0, max: 1000 }),
  min_vram_gb: fc.integer({ min: 0, max: 80 }),
  max_node_count: fc.integer({ min: 1, max: 4 }),
  max_retry_count: fc.integer({ min: 0, max: 10 }),
  max_timeout_assign_ms: fc.integer({ min: 300_000, max: 1e9 }),
  max_timeout_start_ms: fc.integer({ min: 120_000, max: 6e8 }),
  start_timeout_waits_for_pull: fc.boolean(),
  allowed_region_codes: fc.uniqueArray(fc.constantFrom(...regionCodes), { maxLength: 3 }),
  image_size_bytes: fc.integer({ min: 0, max: 1e12 }),
  max_cost_usd: fc.constantFrom(0.000001, 0.5, 12.345678, 1000),
  renew_within_ms: fc.integer({ min: 60_000, max: 1e9 }),
  idle_timeout_ms: fc.integer({ min: 60_000, max: 1e9 }),
  labels: fc.dictionary(word, text, { maxKeys: 3 }),
  priority: fc.integer({ min: -1000, max: 1000 }),
};
const containerGroups = {
  image: fc.record({
    image: word,
    tag: optional(word),
    host: optional(word.map((name) => `${name}.example.com`)),
    user: fc.constant('user'),
    secret: optional(word),
  }),
};
const containerFields = {
  imagesrc: text,
  ports: fc.uniqueArray(fc.integer({ min: 1, max: 65_535 }), { maxLength: 3 }),
  env: fc.dictionary(word, text, { maxKeys: 4 }),
  sshkey: sshKey,
  allowed_ips: fc.uniqueArray(fc.constantFrom('10.0.0.1', '192.0.2.0/24', '::1', '2001:db8::/32')),
  volumes: fc
    .uniqueArray(word, { maxLength: 2 })
    .chain((names) => fc.tuple(...names.map((name) => volumeAt(`/${name}`)))),
  command: fc.array(text, { maxLength: 4 }),
  entrypoint: fc.array(text, { minLength: 1, maxLength: 2 }),
  stop_signal: fc.constantFrom('SIGINT', 'TERM', '15'),
  stop_grace_ms: fc.integer({ min: 0, max: 300_000 }),
};

function volumeAt(mount: string) {
  return fc
    .record({ image: word, tag: optional(word), user: word, secret: optional(word) })
    .map((volume) => ({ ...present(volume), mount }));
}

type Group = { [name: string]: unknown };

/** A body as groups of fields; a field that stands alone is a group of one. */
function groupsOf(
  groups: Record<string, fc.Arbitrary<Group>>,
  fields: Record<string, fc.Arbitrary<unknown>>,
) {
  const single = Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      name,
      optional(value).map((it): Group => ({ [name]: it })),
    ]),
  );
  return fc.record({ ...groups, ...single }).map((record): Record<string, Group> => record);
}

const half = fc.record({
  job: groupsOf(jobGroups, jobFields),
  container: groupsOf(containerGroups, containerFields),
});
const places = ['payload', 'override', 'input'] as const;
type Place = (typeof places)[number];

/** `decoy` is what the recipe says where an override says otherwise. */
export const cookCase: fc.Arbitrary<CookCase> = fc
  .record({
    wanted: half,
    decoy: half,
    places: fc.infiniteStream(fc.constantFrom<Place>(...places)),
    choices: fc.infiniteStream(fc.nat(1_000_000)),
  })
  .map(({ wanted, decoy, places, choices }) => {
    const inputs = new Inputs(() => next(choices));
    const job = spread(wanted.job, decoy.job, { place: () => next(places), inputs, path: '' });
    const inner = { place: () => next(places), inputs, path: 'parameters.parameters.' };
    const container = spread(wanted.container, decoy.container, inner);
    const parameters = { type: 'docker', parameters: container.payload };
    const overrides = Object.keys(container.overrides).length > 0;
    return {
      body: { ...joined(wanted.job), parameters: { type: 'docker', parameters: joined(wanted.container) } },
      recipe: { name: 'random', payload: { ...job.payload, parameters }, input_schema: inputs.fields },
      cook: {
        ...job.overrides,
        ...(overrides ? { parameters: { parameters: container.overrides } } : {}),
        inputs: inputs.values,
      },
      secretNames: inputs.secretNames(container.payload),
    };
  });

function next<T>(stream: fc.Stream<T>): T {
  const { value, done } = stream.next();
  if (done) throw new Error('the stream is endless');
  return value;
}

interface Spreading {
  place: () => Place;
  inputs: Inputs;
  path: string;
}

function spread(
  wanted: Record<string, Group>,
  decoy: Record<string, Group>,
  { place, inputs, path }: Spreading,
) {
  const payload: Json = {};
  const overrides: Json = {};
  for (const [name, group] of Object.entries(wanted)) {
    const where = place();
    if (where === 'override') {
      Object.assign(payload, withEscapes(beside(group, decoy[name] ?? {})));
      Object.assign(overrides, overriding(group, payload));
    } else
      Object.assign(
        payload,
        where === 'input' ? inputs.standIn(present(group), path) : withEscapes(present(group)),
      );
  }
  return { payload, overrides };
}

/** Env variables are overridden each by its name, so the recipe has none but those. */
function beside(group: Group, decoy: Group): Json {
  const { env, ...fields } = present(decoy);
  if (env === undefined) return fields;
  const names = new Set(Object.keys((group.env as Json | undefined) ?? {}));
  return {
    ...fields,
    env: Object.fromEntries(Object.entries(env as Json).filter(([name]) => names.has(name))),
  };
}

/** What clears a field is null; a task has no null, and one name of a GPU clears the other by itself. */
function overriding(group: Group, payload: Json): Json {
  const given = present(group);
  if (Object.keys(given).some((name) => name.startsWith('gpu_') && name !== 'gpu_count')) return given;
  const cleared = Object.keys(group).concat(Object.keys(payload).filter((name) => isOfGroup(name, group)));
  const result = { ...Object.fromEntries(cleared.map((name) => [name, null])), ...given };
  return 'max_timeout_run_ms' in result ? { ...result, task: given.task ?? 'BATCH' } : result;
}

const together = [
  ['task', 'max_timeout_run_ms', 'on_node_lost'],
  ['gpu_name', 'gpu_registry_uuid'],
  ['image', 'tag', 'host', 'user', 'secret'],
];

function isOfGroup(name: string, group: Group): boolean {
  const mates = together.find((names) => names.includes(name));
  if (mates === undefined) return false;
  const names = Object.keys(group);
  return names.length === 0 ? mates.includes('gpu_name') : names.some((other) => mates.includes(other));
}

/** Inputs made on the way: each takes one value of the wanted body, or a part of a text. */
class Inputs {
  readonly fields: RecipeInputField[] = [];
  readonly values: Json = {};
  readonly #choose: () => number;

  constructor(choose: () => number) {
    this.#choose = choose;
  }

  /** The value with places instead of what is in it. */
  standIn(value: Json, path: string): Json {
    return Object.fromEntries(
      Object.entries(value).map(([name, it]) => [name, this.#placeFor(it, path + name)]),
    );
  }

  #placeFor(value: unknown, path: string): unknown {
    if (Array.isArray(value)) return value.map((it, index) => this.#placeFor(it, `${path}[${index}]`));
    if (typeof value === 'object' && value !== null)
      return Object.fromEntries(
        Object.entries(value).map(([name, it]) => [name, this.#placeFor(it, `${path}.${name}`)]),
      );
    if (typeof value !== 'string') return `\${${this.#add(value, path)}}`;
    const isWhole = /secret$|sshkey$/.test(path) || value === '' || this.#choose() % 2 === 0;
    if (isWhole) return `\${${this.#add(value, path)}}`;
    const at = this.#choose() % (value.length + 1);
    const before = value.slice(0, at);
    // A dollar right before a place would escape it.
    if (before.endsWith('$') || !before.isWellFormed()) return `\${${this.#add(value, path)}}`;
    const end = at + (this.#choose() % (value.length - at + 1));
    const middle = value.slice(at, end);
    if (middle === '' || !middle.isWellFormed()) return escaped(value);
    return `${escaped(before)}\${${this.#add(middle, path)}}${escaped(value.slice(end))}`;
  }

  #add(value: unknown, path: string): string {
    const key = `in_${this.fields.length}`;
    const field = this.#fieldFor(value, path);
    // What the job cannot do without must have a default or be asked for.
    const isFree = /^(title|description)$/.test(path) || typeof value !== 'string';
    const isNeeded = !isFree || /[.[]|^max_timeout_run_ms$/.test(path);
    this.fields.push({ key, required: isNeeded || this.#choose() % 2 === 0, ...field });
    // A default that is not overridden is the value as well.
    if (field.default_value !== value) this.values[key] = value;
    return key;
  }

  #fieldFor(value: unknown, path: string): Omit<RecipeInputField, 'key'> {
    const known = value as string | number | boolean;
    const choice = this.#choose();
    if (/secret$/.test(path)) return { type: 'secret' };
    if (path.includes('.env.') && choice % 3 !== 0) return { type: 'secret' };
    const default_value = choice % 2 === 0 ? known : undefined;
    const given = default_value === undefined ? {} : { default_value };
    if (choice % 5 === 0) return { type: 'select', options: [{ label: 'one', value: known }], ...given };
    if (typeof known === 'number') return { type: 'number', ...given };
    if (typeof known === 'boolean') return { type: 'boolean', ...given };
    return { type: /sshkey$/.test(path) ? 'ssh_key' : 'text', ...given };
  }

  secretNames({ env }: Json): string[] {
    const keys = this.fields.filter(({ type }) => type === 'secret').map(({ key }) => key);
    const entries = Object.entries((env as Record<string, string> | undefined) ?? {});
    return entries
      .filter(([, value]) => keys.some((key) => value.includes(`\${${key}}`)))
      .map(([name]) => name);
  }
}

function withEscapes(value: Json): Json {
  return JSON.parse(JSON.stringify(value), (_, it) => (typeof it === 'string' ? escaped(it) : it)) as Json;
}

function escaped(value: string): string {
  return value.replaceAll(/\$\{(?=[A-Za-z][A-Za-z0-9_]{0,63}\})/g, '$$${');
}

function present(group: Group): Json {
  return Object.fromEntries(Object.entries(group).filter(([, value]) => value !== undefined));
}

function joined(groups: Record<string, Group>): Json {
  return Object.assign({}, ...Object.values(groups).map(present));
}
