// What jobs are filtered by: in the query of their list, and in the body of a bulk stop, with the same words and checks.
import type { Filter } from '../db/list-sql.ts';
import { jobRunStatuses, jobStatuses, jobTasks, teardownStates } from '../domain/job.ts';
import type { FieldIssue } from '../protocol/error.ts';
import type { JobFilter } from '../protocol/job-stop.ts';
import { type FilterRules, readFilter } from './list-query.ts';
import { describe } from './validate.ts';

/** Those that a bulk stop takes too. */
const stopFilters = {
  status: { kind: 'words', column: 'j.status', words: jobStatuses, alsoKnown: jobRunStatuses },
  task: { kind: 'words', column: 'j.task', words: jobTasks },
  uuid: { kind: 'uuids', column: 'j.id' },
  created_at: { kind: 'times', column: 'j.created_at' },
  older_than_ms: { kind: 'age', column: 'j.created_at' },
  title_prefix: { kind: 'prefix', column: 'j.title' },
  label: { kind: 'labels', column: 'j.labels' },
} as const satisfies FilterRules & Record<keyof JobFilter, unknown>;

export const jobFilters: FilterRules = {
  ...stopFilters,
  title: { kind: 'prefix', column: 'j.title' },
  recipe_uuid: { kind: 'uuids', column: 'j.source_recipe_uuid' },
  cpu_count: { kind: 'numbers', column: 'j.cpu_count' },
  gpu_count: { kind: 'numbers', column: 'j.gpu_count' },
  min_ram_gb: { kind: 'numbers', column: 'j.min_ram_gb' },
  min_storage_gb: { kind: 'numbers', column: 'j.min_storage_gb' },
  min_vram_gb: { kind: 'numbers', column: 'j.min_vram_gb' },
  teardown: { kind: 'words', column: 'r.teardown_state', words: teardownStates },
};

/** The filters of a bulk stop's body, and what is wrong with them. */
export function readJobFilter(filter: JobFilter): { filters: Filter[]; issues: FieldIssue[] } {
  const filters: Filter[] = [];
  const issues: FieldIssue[] = [];
  for (const name of Object.keys(stopFilters) as (keyof JobFilter)[]) {
    const value = filter[name];
    if (value === undefined) continue;
    const read = readFilter(stopFilters[name], textsOf(value));
    if (typeof read === 'string')
      issues.push({ path: `filter.${name}`, expected: read, received: describe(value) });
    else filters.push(read);
  }
  return { filters, issues };
}

/** A string reads as in a query; in an array each value stands by itself and may hold commas. */
function textsOf(value: string | number | readonly string[]): string[] {
  return typeof value === 'object' ? [...value] : String(value).split(',');
}
