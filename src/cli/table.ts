// Aligned tables for people: columns as wide as needed, the flexible one cut to the terminal.
import { onOneLine, textWidth, truncate } from './text-width.ts';

export interface Column<Row> {
  header: string;
  cell(row: Row): string;
  align?: 'left' | 'right';
  /** Gives way when the terminal is too narrow; the first of several does so first. */
  isFlexible?: boolean;
  /** Colours the finished cell; its width is already settled. */
  paint?(text: string, row: Row): string;
}

const gap = '  ';
const leastFlexibleWidth = 8;

/** Lines of the table, header first. `width` null: no limit (a file or a pipe reads it). */
export function tableLines<Row>(columns: Column<Row>[], rows: Row[], width: number | null): string[] {
  const cells = rows.map((row) => columns.map((column) => onOneLine(column.cell(row)) || '-'));
  const widths = columns.map((column, index) =>
    Math.max(textWidth(column.header), ...cells.map((line) => textWidth(line[index] ?? ''))),
  );
  if (width !== null) shrink(columns, widths, width);
  const header = joinCells(columns.map((column, index) => fit(column.header, widths[index] ?? 0, column)));
  const lines = cells.map((line, rowIndex) =>
    joinCells(
      columns.map((column, index) => {
        const text = fit(line[index] ?? '', widths[index] ?? 0, column);
        const row = rows[rowIndex];
        return column.paint && row !== undefined ? column.paint(text, row) : text;
      }),
    ),
  );
  return [header, ...lines];
}

/** Lines of `name: value`, values aligned; pairs whose value is null are left out. */
export function pairLines(pairs: [name: string, value: string | null][], indent = ''): string[] {
  const shown = pairs.filter((pair): pair is [string, string] => pair[1] !== null);
  const width = Math.max(0, ...shown.map(([name]) => textWidth(name)));
  return shown.map(([name, value]) => `${indent}${`${name}:`.padEnd(width + 1)} ${value}`);
}

function shrink<Row>(columns: Column<Row>[], widths: number[], limit: number) {
  for (const [index, column] of columns.entries()) {
    const excess = widths.reduce((sum, width) => sum + width, gap.length * (widths.length - 1)) - limit;
    if (excess <= 0) return;
    const width = widths[index] ?? 0;
    if (column.isFlexible) widths[index] = Math.max(Math.min(leastFlexibleWidth, width), width - excess);
  }
}

function fit<Row>(text: string, width: number, column: Column<Row>): string {
  const cut = truncate(text, width);
  const padding = ' '.repeat(Math.max(0, width - textWidth(cut)));
  return column.align === 'right' ? padding + cut : cut + padding;
}

function joinCells(cells: string[]): string {
  return cells.join(gap).trimEnd();
}
