// npm run bench: measures Flotilla beside its floors and peers, prints a table, writes bench/results/<name>.json.
//
//   npm run bench -- [SECTION...] [--quick] [--name NAME]
//
// Sections: api, lifecycle, container, stop, rest, placement, gateway; all of them when none is named. `container` and `stop`
// start a Docker Engine of their own (as root) unless DOCKER_HOST names one.
import { mkdirSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { benchApi } from './sections/api.ts';
import { benchContainer } from './sections/container.ts';
import { benchGateway } from './sections/gateway.ts';
import { benchLifecycle } from './sections/lifecycle.ts';
import { benchPlacement } from './sections/placement.ts';
import { benchRest } from './sections/rest.ts';
import { benchStop } from './sections/stop.ts';
import { describeMachine, type Figure, printFigures } from './support/figures.ts';
import { hasEngine, runInsideDocker } from './support/inside-docker.ts';
import { Workspace } from './support/workspace.ts';

type Section = (workspace: Workspace, options: { isQuick: boolean }) => Promise<Figure[]>;

const sections: Record<string, Section> = {
  api: benchApi,
  lifecycle: benchLifecycle,
  container: onEngine('container', benchContainer),
  stop: onEngine('stop', benchStop),
  rest: benchRest,
  placement: benchPlacement,
  gateway: benchGateway,
};

const usage = `Usage: npm run bench -- [SECTION...] [--quick] [--name NAME]
Sections: ${Object.keys(sections).join(', ')}; all of them when none is named.
Writes bench/results/NAME.json (default: latest).`;

process.exitCode = await main();

interface Options {
  names: string[];
  isQuick: boolean;
  resultName: string;
  /** Set in a run inside another: figures go to this file, and nothing else is written. */
  figuresFile: string | undefined;
}

async function main(): Promise<number> {
  if (process.argv.includes('--help')) {
    console.log(usage);
    return 0;
  }
  const options = readOptions();
  if (options === null) {
    console.error(usage);
    return 2;
  }
  const unknown = options.names.filter((name) => !(name in sections));
  if (unknown.length > 0) {
    console.error(`No section ${unknown.join(', ')}; there are ${Object.keys(sections).join(', ')}.`);
    return 2;
  }
  const workspace = new Workspace();
  endOnSignals(workspace);
  try {
    if (options.figuresFile === undefined) await report(workspace, options);
    else writeFileSync(options.figuresFile, JSON.stringify(await measure(workspace, options)));
    return 0;
  } finally {
    await workspace.close();
  }
}

/** Null where the words are not understood; that is told. */
function readOptions(): Options | null {
  try {
    return parseOptions();
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    return null;
  }
}

function parseOptions(): Options {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      quick: { type: 'boolean', default: false },
      name: { type: 'string', default: 'latest' },
      figures: { type: 'string' },
    },
  });
  const names = positionals.length > 0 ? positionals : Object.keys(sections);
  return { names, isQuick: values.quick, resultName: values.name, figuresFile: values.figures };
}

async function report(workspace: Workspace, options: Options): Promise<void> {
  const startedAt = new Date();
  const machine = describeMachine(await workspace.postgresVersion());
  const figures = await measure(workspace, options);
  const tookSeconds = Math.round((Date.now() - startedAt.getTime()) / 1000);
  printFigures(figures);
  const run = { started_at: startedAt.toISOString(), took_seconds: tookSeconds, is_quick: options.isQuick };
  write(options.resultName, { ...run, machine, figures });
  console.log(`\n${tookSeconds} s; written to bench/results/${options.resultName}.json`);
}

async function measure(workspace: Workspace, { names, isQuick, figuresFile }: Options): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const name of names) {
    if (figuresFile === undefined) console.log(`measuring ${name}`);
    figures.push(...((await sections[name]?.(workspace, { isQuick })) ?? []));
    await workspace.checkpoint();
  }
  return figures;
}

function onEngine(name: string, section: Section): Section {
  return (workspace, options) =>
    hasEngine() ? section(workspace, options) : runInsideDocker(workspace, { section: name, ...options });
}

/** However the run ends, nothing it started is left. */
function endOnSignals(workspace: Workspace): void {
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(event, (error) => {
      console.error(error);
      void workspace.close().finally(() => process.exit(1));
    });
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      console.error(`${signal}: ending what was started`);
      void workspace.close().finally(() => process.exit(signal === 'SIGINT' ? 130 : 143));
    });
  }
}

function write(name: string, result: object): void {
  const folder = new URL('./results/', import.meta.url);
  mkdirSync(folder, { recursive: true });
  writeFileSync(new URL(`${name}.json`, folder), `${JSON.stringify(result, null, 2)}\n`);
}
