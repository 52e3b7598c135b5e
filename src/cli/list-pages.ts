// Reads a list page by page, or one page of it.
import type { Command } from 'commander';
import type { ListEnvelope } from '../protocol/list.ts';
import type { ListQuery } from '../sdk/query.ts';
import { integerFrom1 } from './options.ts';

const pageSize = 50;

export interface PageFlags {
  limit?: number;
  page?: number;
  all?: true;
}

/** What a command that lists takes for them. */
export function withPageOptions(command: Command, noun: string): Command {
  return command
    .option('--limit <n>', `${noun} on a page, at most 50`, integerFrom1)
    .option('--page <n>', 'page, from 1', integerFrom1)
    .option('--all', 'every page');
}

/** The page asked for, or with `all` everything as one page; an item that moved between pages comes once. */
export async function listPages<T extends { uuid: string } | { id: number }>(
  list: (query: ListQuery) => Promise<ListEnvelope<T>>,
  flags: PageFlags,
  filter: ListQuery['filter'] = {},
): Promise<ListEnvelope<T>> {
  if (!flags.all) {
    const { limit, page } = flags;
    return list({ filter, ...(limit ? { limit } : {}), ...(page ? { page } : {}) });
  }
  const items = new Map<string | number, T>();
  for (let page = 1; ; page += 1) {
    const envelope = await list({ filter, page, limit: pageSize });
    for (const item of envelope.data) items.set('uuid' in item ? item.uuid : item.id, item);
    if (envelope.data.length < pageSize) return { ...envelope, page: 1, data: [...items.values()] };
  }
}

/** Says that there are more pages; nothing when all was shown. */
export function morePagesLine(list: ListEnvelope<unknown>, noun: string): string[] {
  const shown = (list.page - 1) * list.limit + list.data.length;
  if (list.data.length === 0 || shown >= list.total) return [];
  const total = `${list.total_is_exact ? '' : 'about '}${list.total}`;
  return [`${list.data.length} of ${total} ${noun}; more with --page ${list.page + 1} or --all.`];
}
