// Prints for people and for programs: lines, tables, JSON, and colour where a terminal wants it.
import { styleText } from 'node:util';
import type { Io, Output } from './io.ts';
import { type Column, tableLines } from './table.ts';

type Style = Parameters<typeof styleText>[0];

export function printLines(output: Output, lines: string[]) {
  if (lines.length > 0) output.write(`${lines.join('\n')}\n`);
}

/** Indented JSON, as the API sent it. */
export function printJson(io: Io, value: unknown) {
  io.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

/** A table cut to the terminal; whole when stdout is a file or a pipe. */
export function printTable<Row>(io: Io, columns: Column<Row>[], rows: Row[]) {
  printLines(io.stdout, tableLines(columns, rows, terminalWidth(io.stdout)));
}

/** null: nobody looks at it, so nothing is cut. */
export function terminalWidth(output: Output): number | null {
  return output.isTTY ? output.columns || 80 : null;
}

/** Colours `text` on a terminal, unless NO_COLOR is set (no-color.org). */
export function paint(io: Io, style: Style, text: string): string {
  const isPlain = !io.stdout.isTTY || io.env.NO_COLOR || io.env.TERM === 'dumb';
  return isPlain ? text : styleText(style, text, { validateStream: false });
}

const statusStyles: Record<string, Style> = {
  PENDING: 'yellow',
  ASSIGNED: 'cyan',
  PREPARING: 'cyan',
  RUNNING: 'blue',
  COMPLETED: 'green',
  FAILED: 'red',
  CANCELLED: 'gray',
  ready: 'green',
  unreachable: 'yellow',
  not_ready: 'yellow',
  lost: 'red',
  offline: 'gray',
  cordoned: 'yellow',
  draining: 'yellow',
};

export function paintStatus(io: Io, status: string, text: string): string {
  const style = statusStyles[status];
  return style ? paint(io, style, text) : text;
}
