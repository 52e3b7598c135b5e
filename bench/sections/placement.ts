// The pure placement, measured by its own program; its tables are shown as they are.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { atLeast, type Figure } from '../support/figures.ts';
import type { Workspace } from '../support/workspace.ts';

export async function benchPlacement(workspace: Workspace): Promise<Figure[]> {
  const text = await runProgram(workspace);
  const rates = readRows(text, 'decisions/s, reasons on');
  const costs = readRows(text, 'µs/decision');
  const nodes = readRows(text, 'nodes');
  const [value, cost, firstCost] = [rates.at(-1), costs.at(-1), costs.at(0)];
  if (value === undefined || cost === undefined || firstCost === undefined)
    throw new Error(`bench/placement.ts printed no figures:\n${text.slice(-2_000)}`);
  // Both have ten jobs a node, so that as large a share of them is placed.
  const growth = cost / firstCost;
  return [
    {
      ...{
        section: 'placement',
        name: 'decisions, 5,000 nodes × 50,000 GPU jobs, reasons on',
        unit: '/s',
        value,
      },
      goal: atLeast(value, 100_000, '/s'),
      raw: { nodes, rates, costs },
    },
    {
      ...{ section: 'placement', name: 'cost of a decision, 5,000 nodes', unit: 'µs', value: cost },
      floor: { name: '500 nodes × 5,000 jobs', value: firstCost, ratio: growth },
      goal: { text: 'flat (≤ 1.5×)', isMet: growth <= 1.5 },
    },
  ];
}

function runProgram(workspace: Workspace): Promise<string> {
  const file = fileURLToPath(new URL('../placement.ts', import.meta.url));
  const child = spawn(process.execPath, [file], { stdio: ['ignore', 'pipe', 'inherit'] });
  workspace.track(child);
  let text = '';
  child.stdout.on('data', (chunk) => {
    text += chunk;
    process.stdout.write(chunk);
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) =>
      code === 0 ? resolve(text) : reject(new Error(`bench/placement.ts ended with exit code ${code}.`)),
    );
  });
}

/** The values of a row over all printed tables, in order. */
function readRows(text: string, name: string): number[] {
  return text.split('\n').flatMap((line) => {
    const [, title, value] = line.split('│').map((cell) => cell.trim());
    return title === name && value !== undefined ? [Number(value)] : [];
  });
}
