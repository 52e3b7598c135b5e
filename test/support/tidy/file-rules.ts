// Style rules that one file alone can break.
import type { SourceFile } from './source-file.ts';

const maxFileLines = 400;
const longFileLines = 250;
const longFunctionLines = 70;
const manyExports = 3;
/** What `exports` of package.json shows to others; inside, everything is imported from where it is made. */
const packageDoor = 'src/sdk/sdk.ts';

const impure =
  /^(Date\.now|performance|Math\.random|process|console|crypto|fetch|setTimeout|setInterval|setImmediate|globalThis)$/;
// Not `create database`: src/embedded makes the database before src/db can open it.
const sql =
  /^\s*(select\b[\s\S]*\bfrom\b|insert\s+into\b|update\s+[\w."{}]+\s+set\b|delete\s+from\b|with\s+(recursive\s+)?\w+\s+as\b|(create|alter|drop|truncate)\s+(table|index|type|schema|function)\b|(listen|notify)\s+\w+\s*$)/i;

/** What outlives a transaction in a session: behind a pooler the next statement may meet another one. */
const sessionState =
  /\bpg_(try_)?advisory_(un)?lock(_shared|_all)?\s*\(|\bcreate\s+temp(orary)?\b|^\s*(set\s+(session\s+)?\w+\s*(=|to\b)|prepare\s+\w+|declare\s+\w+)/i;

/** What must not be. */
export function fileProblems(file: SourceFile): string[] {
  const problems: string[] = [];
  const say = (problem: string, line?: number) =>
    problems.push(`${file.path}${line === undefined ? '' : `:${line}`} ${problem}`);
  if (file.hasDefaultExport) say('has a default export');
  if (file.lineCount > maxFileLines) say(`has ${file.lineCount} lines, more than ${maxFileLines}: split it`);
  if (!file.path.startsWith('src/')) return problems;
  if (!/^(#!.*\n)?\/[/*]/.test(file.text)) say('does not open with a comment that says its duty', 1);
  if ((file.hasReExport && file.path !== packageDoor) || file.path.endsWith('/index.ts'))
    say('is a barrel: import from where things are made');
  if (!file.path.startsWith('src/db/')) {
    for (const literal of file.literals)
      if (sql.test(literal.text)) say('holds SQL outside src/db', literal.line);
  }
  if (file.path.startsWith('src/db/')) {
    for (const literal of file.literals)
      if (sessionState.test(literal.text))
        say('keeps state in a session, which a pooler hands to others', literal.line);
  }
  if (file.path.startsWith('src/domain/') && !file.path.endsWith('.test.ts')) {
    for (const { name, line } of file.names) {
      if (impure.test(name)) say(`uses ${name}: time, chance and the outside are passed in to domain`, line);
    }
  }
  return problems;
}

/** What deserves a look: lengths and the number of exports. */
export function fileWarnings(file: SourceFile): string[] {
  const isTest = file.path.endsWith('.test.ts');
  const warnings = file.functions
    .filter((it) => it.lineCount > longFunctionLines)
    .map((it) => `${file.path}:${it.line} function ${it.name} has ${it.lineCount} lines`);
  if (file.lineCount > longFileLines) warnings.push(`${file.path} has ${file.lineCount} lines`);
  if (!isTest && !isSchema(file) && file.path !== packageDoor && file.exports.length > manyExports) {
    warnings.push(`${file.path} has ${file.exports.length} exports`);
  }
  return warnings;
}

/** Protocol files export a schema and its type for each shape, so counting says nothing there. */
function isSchema(file: SourceFile): boolean {
  return file.path.startsWith('src/protocol/');
}
