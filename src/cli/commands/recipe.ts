// `flotilla recipe`: stored job templates: list, get, create, update, cook, fork, archive.
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import type { CreateRecipeBody, Recipe, UpdateRecipeBody } from '../../protocol/recipe.ts';
import type { Client } from '../../sdk/client.ts';
import type { Cli } from '../cli.ts';
import { NotFoundError, UsageError } from '../errors.ts';
import { listPages, morePagesLine, type PageFlags } from '../list-pages.ts';
import { type ApiFlags, collect, integerFrom1, withApiOptions } from '../options.ts';
import { printJson, printLines, printTable } from '../output.ts';
import { type Column, pairLines } from '../table.ts';

export function addRecipeCommands(program: Command, cli: Cli) {
  const recipe = program
    .command('recipe')
    .summary('stored job templates')
    .description('Lists, shows, makes and cooks recipes: job templates with inputs.');
  addList(recipe, cli);
  addGet(recipe, cli);
  addCreate(recipe, cli);
  addUpdate(recipe, cli);
  addCook(recipe, cli);
  addCopies(recipe, cli);
}

const columns: Column<Recipe>[] = [
  { header: 'UUID', cell: (recipe) => recipe.uuid },
  { header: 'NAME', cell: (recipe) => recipe.name, isFlexible: true },
  { header: 'VERSION', cell: (recipe) => String(recipe.version), align: 'right' },
  {
    header: 'FROM',
    cell: (recipe) => (recipe.is_official ? 'official' : recipe.is_owner ? 'you' : 'public'),
  },
  {
    header: 'INPUTS',
    cell: (recipe) => recipe.input_schema.map(({ key }) => key).join(', '),
    isFlexible: true,
  },
];

function addList(recipe: Command, cli: Cli) {
  const command = recipe
    .command('list')
    .alias('ls')
    .description('Lists your recipes, official and public ones, newest first.')
    .option('--official', 'official ones only')
    .option('--name <start>', 'whose name begins so')
    .option('--limit <n>', 'recipes on a page, at most 50', integerFrom1)
    .option('--page <n>', 'page, from 1', integerFrom1)
    .option('--all', 'every page')
    .addHelpText('after', '\nExample:\n  flotilla recipe list --official');
  type Flags = ApiFlags & PageFlags & { official?: true; name?: string };
  withApiOptions(command, 'print an array of API objects').action(async (flags: Flags) => {
    const filter = {
      ...(flags.official ? { is_official: 'true' } : {}),
      ...(flags.name ? { name: flags.name } : {}),
    };
    const list = await cli.withClient(flags, (client) =>
      listPages((query) => client.recipes.list(query), flags, filter),
    );
    if (flags.json) return printJson(cli.io, list.data);
    printTable(cli.io, columns, list.data);
    printLines(cli.io.stderr, morePagesLine(list, 'recipes'));
  });
}

function addGet(recipe: Command, cli: Cli) {
  const command = recipe
    .command('get')
    .description('Shows a recipe with its inputs and quickstart.')
    .argument('<recipe>', 'uuid, or its whole name')
    .addHelpText('after', '\nExample:\n  flotilla recipe get "SSH box"');
  withApiOptions(command).action(async (reference: string, flags: ApiFlags) => {
    const found = await cli.withClient(flags, (client) => resolveRecipe(client, reference));
    if (flags.json) return printJson(cli.io, found);
    printLines(cli.io.stdout, recipeLines(found));
  });
}

function recipeLines(recipe: Recipe): string[] {
  const inputs = recipe.input_schema.map(
    ({ key, type, required, default_value: value, description }): [string, string] => [
      key,
      [
        `${type}${required ? ', required' : ''}`,
        value === null || value === '' ? '' : `default ${value}`,
        description ?? '',
      ]
        .filter(Boolean)
        .join('; '),
    ],
  );
  return [
    ...pairLines([
      ['Recipe', recipe.uuid],
      ['Name', recipe.name],
      ['Version', String(recipe.version)],
      ['Visibility', recipe.is_official ? 'official' : recipe.visibility],
      ['Description', recipe.description],
    ]),
    ...(inputs.length > 0 ? ['Inputs:', ...pairLines(inputs, '  ')] : []),
    ...(recipe.quickstart_md ? ['', recipe.quickstart_md.trimEnd()] : []),
  ];
}

function addCreate(recipe: Command, cli: Cli) {
  const command = recipe
    .command('create')
    .description(
      'Makes a recipe of a JSON file: name, payload (the body of a job), input_schema, quickstart_md.',
    )
    .argument('<file>', 'the file, or - for standard input')
    .addHelpText('after', '\nExample:\n  flotilla job get JOB --json | jq ... | flotilla recipe create -');
  withApiOptions(command).action(async (file: string, flags: ApiFlags) => {
    const body = readJson(file) as CreateRecipeBody;
    const created = await cli.withClient(flags, (client) => client.recipes.create(body));
    if (flags.json) return printJson(cli.io, created);
    printLines(cli.io.stdout, [created.uuid]);
  });
}

function addUpdate(recipe: Command, cli: Cli) {
  const command = recipe
    .command('update')
    .description('Changes a recipe as a JSON file says; a new payload or input_schema is a new version.')
    .argument('<recipe>', 'uuid, or its whole name')
    .argument('<file>', 'the fields that change, as for create; - for standard input')
    .addHelpText(
      'after',
      '\nExample:\n  echo \'{"visibility":"PUBLIC"}\' | flotilla recipe update "my box" -',
    );
  withApiOptions(command).action(async (reference: string, file: string, flags: ApiFlags) => {
    const body = readJson(file) as UpdateRecipeBody;
    const updated = await cli.withClient(flags, async (client) =>
      client.recipes.update((await resolveRecipe(client, reference)).uuid, body),
    );
    if (flags.json) return printJson(cli.io, updated);
    printLines(cli.io.stdout, [`Recipe ${updated.uuid} is at version ${updated.version}.`]);
  });
}

function readJson(file: string): unknown {
  const text = readFileSync(file === '-' ? 0 : file, 'utf8');
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new UsageError(`${file} is not JSON: ${cause instanceof Error ? cause.message : cause}`);
  }
}

function addCook(recipe: Command, cli: Cli) {
  const command = recipe
    .command('cook')
    .description('Makes a job of a recipe.')
    .argument('<recipe>', 'uuid, or its whole name')
    .option('--input <key=value>', 'value of an input (repeatable)', collect)
    .option(
      '--input-file <key=file>',
      'value of an input from a file, an SSH key for example (repeatable)',
      collect,
    )
    .option(
      '--set <field=value>',
      'overrides a field of the job, JSON or text: title=mine (repeatable)',
      collect,
    )
    .addHelpText(
      'after',
      '\nExample:\n  flotilla recipe cook "SSH box" --input-file ssh_key=$HOME/.ssh/id_ed25519.pub --input cpus=4',
    );
  type Flags = ApiFlags & { input?: string[]; inputFile?: string[]; set?: string[] };
  withApiOptions(command, 'print the job').action(async (reference: string, flags: Flags) => {
    const job = await cli.withClient(flags, async (client) => {
      const found = await resolveRecipe(client, reference);
      const inputs = { ...inputsOf(found, flags.input ?? []), ...fileInputs(flags.inputFile ?? []) };
      return client.recipes.cook(found.uuid, { ...overridesOf(flags.set ?? []), inputs });
    });
    if (flags.json) return printJson(cli.io, job);
    printLines(cli.io.stdout, [job.uuid]);
  });
}

function pairOf(text: string): [string, string] {
  const at = text.indexOf('=');
  if (at < 1) throw new UsageError(`"${text}" is not key=value.`);
  return [text.slice(0, at), text.slice(at + 1)];
}

/** The shell knows text only: numbers and booleans are read as the input's type asks. */
function inputsOf(recipe: Recipe, pairs: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(
    pairs.map(pairOf).map(([key, value]) => {
      const field = recipe.input_schema.find((input) => input.key === key);
      const isText = field === undefined || ['text', 'secret', 'ssh_key'].includes(field.type);
      return [key, isText ? value : jsonOr(value)];
    }),
  );
}

function fileInputs(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map(pairOf).map(([key, file]) => [key, readFileSync(file, 'utf8').trimEnd()]),
  );
}

function overridesOf(pairs: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(pairs.map(pairOf).map(([name, value]) => [name, jsonOr(value)]));
}

function jsonOr(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function addCopies(recipe: Command, cli: Cli) {
  const fork = recipe
    .command('fork')
    .description('Copies a recipe into your account.')
    .argument('<recipe>', 'uuid, or its whole name')
    .option('--name <name>', 'of the copy');
  withApiOptions(fork).action(async (reference: string, flags: ApiFlags & { name?: string }) => {
    const copy = await cli.withClient(flags, async (client) => {
      const { uuid } = await resolveRecipe(client, reference);
      return client.recipes.fork(uuid, flags.name ? { name: flags.name } : {});
    });
    if (flags.json) return printJson(cli.io, copy);
    printLines(cli.io.stdout, [copy.uuid]);
  });
  const archive = recipe
    .command('archive')
    .description('Archives a recipe: nobody cooks it any more.')
    .argument('<recipe>', 'uuid, or its whole name');
  withApiOptions(archive).action(async (reference: string, flags: ApiFlags) => {
    const archived = await cli.withClient(flags, async (client) =>
      client.recipes.archive((await resolveRecipe(client, reference)).uuid),
    );
    if (flags.json) return printJson(cli.io, archived);
    printLines(cli.io.stdout, [`Recipe ${archived.uuid} is archived.`]);
  });
}

async function resolveRecipe(client: Client, reference: string): Promise<Recipe> {
  if (/^[0-9a-f-]{36}$/i.test(reference)) return client.recipes.get(reference.toLowerCase());
  const { data } = await listPages((query) => client.recipes.list(query), { all: true }, { name: reference });
  const matches = data.filter(({ name }) => name === reference);
  const [found, second] = matches;
  if (found === undefined)
    throw new NotFoundError(`There is no recipe "${reference}": see "flotilla recipe list".`);
  if (second === undefined) return found;
  throw new UsageError(`${matches.length} recipes are named "${reference}": give the uuid.`);
}
