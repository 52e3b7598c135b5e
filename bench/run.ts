// npm run bench: measures Flotilla beside its floors and peers, prints a table, writes bench/results/<name>.json.
//
//   npm run bench -- [SECTION...] [--quick] [--name NAME]
//
// Sections: api, lifecycle, container, stop, rest, placement; all of them when none is named.
import { mkdirSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { benchApi } from './sections/api.ts';
import { describeMachine, type Figure, printFigures } from './support/figures.ts';
import { Workspace } from './support/workspace.ts';

type Section = (workspace: Workspace, options: { isQuick: boolean }) => Promise<Figure[]>;

const sections: Record<string, Section> = { api: benchApi };

process.exitCode = await main();

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { quick: { type: 'boolean', default: false }, name: { type: 'string', default: 'latest' } },
  });
  const unknown = positionals.filter((name) => !(name in sections));
  if (unknown.length > 0) {
    console.error(`No section ${unknown.join(', ')}; there are ${Object.keys(sections).join(', ')}.`);
    return 2;
  }
  const workspace = new Workspace();
  endOnSignals(workspace);
  const startedAt = new Date();
  try {
    const machine = describeMachine(await workspace.postgresVersion());
    const figures: Figure[] = [];
    for (const name of positionals.length > 0 ? positionals : Object.keys(sections)) {
      console.log(`${name} …`);
      figures.push(...((await sections[name]?.(workspace, { isQuick: values.quick })) ?? []));
    }
    printFigures(figures);
    write(values.name, { started_at: startedAt.toISOString(), is_quick: values.quick, machine, figures });
    return 0;
  } finally {
    await workspace.close();
  }
}

function endOnSignals(workspace: Workspace): void {
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
  const file = new URL(`${name}.json`, folder);
  writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`);
  console.log(`\nwritten to bench/results/${name}.json`);
}
