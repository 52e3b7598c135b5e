// The node's GPUs as nvidia-smi tells them, or a sentence why they cannot be read.
import { execFile } from 'node:child_process';
import type { GpuInventory } from '../protocol/agent-messages.ts';

export interface GpuReading {
  gpus: GpuInventory[];
  note: string | null;
}

const fields = 'index,uuid,name,memory.total,driver_version';
/** A first call after boot loads the driver, which takes seconds. */
const smiTimeoutMs = 10_000;

/** No GPUs and no note on a machine without nvidia-smi. */
export async function readGpus(command = 'nvidia-smi'): Promise<GpuReading> {
  const { error, stdout, stderr } = await runSmi(command, `--query-gpu=${fields}`);
  if (error === null) return parseGpus(stdout);
  if (error.code === 'ENOENT') return { gpus: [], note: null };
  if (error.killed)
    return {
      gpus: [],
      note: `nvidia-smi did not answer within ${smiTimeoutMs / 1000} s; check the GPU driver.`,
    };
  const said = (stdout + stderr).trim().split('\n')[0]?.slice(0, 300) ?? '';
  return { gpus: [], note: `nvidia-smi failed, check the GPU driver: ${said === '' ? error.message : said}` };
}

/** Lines of `index, uuid, name, MiB, driver`; a line that does not fit is named in the note, the others count. */
export function parseGpus(text: string): GpuReading {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  const gpus: GpuInventory[] = [];
  const bad: string[] = [];
  for (const line of lines) {
    const gpu = parseGpu(line);
    const isNew = gpu !== null && !gpus.some(({ uuid }) => uuid === gpu.uuid);
    if (isNew) gpus.push(gpu);
    else bad.push(line.trim().slice(0, 120));
  }
  const note =
    bad.length === 0 ? null : `nvidia-smi told of GPUs that cannot be used: ${bad.join('; ').slice(0, 800)}`;
  return { gpus, note };
}

function parseGpu(line: string): GpuInventory | null {
  const cells = line.split(',').map((cell) => cell.trim());
  const [index = '', uuid = '', name = '', vram = '', driver = ''] = cells;
  const isWhole = /^\d+$/.test(index) && /^[\w-]{4,128}$/.test(uuid) && name !== '' && /^\d+$/.test(vram);
  if (!isWhole || cells.length > 5) return null;
  return {
    index: Number(index),
    uuid,
    name: name.slice(0, 256),
    vram_mib: Number(vram),
    driver_version: driver === '' || driver.startsWith('[') ? null : driver.slice(0, 64),
  };
}

type SmiError = Error & { code?: string | number | null; killed?: boolean };

export interface SmiAnswer {
  error: SmiError | null;
  stdout: string;
  stderr: string;
}

export function runSmi(command: string, query: string): Promise<SmiAnswer> {
  return new Promise((resolve) => {
    const options = { timeout: smiTimeoutMs, killSignal: 'SIGKILL' as const };
    execFile(command, [query, '--format=csv,noheader,nounits'], options, (error, stdout, stderr) =>
      resolve({ error, stdout, stderr }),
    );
  });
}
