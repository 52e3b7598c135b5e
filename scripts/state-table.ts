// Prints the job × run state table as Markdown: node scripts/run.mjs scripts/state-table.ts
import { stateTableMarkdown } from '../src/domain/state-table.ts';

process.stdout.write(stateTableMarkdown());
