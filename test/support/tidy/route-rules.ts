// Every route of the API has an entry in the authorisation test's list, and no entry outlives its route.
import type { SourceFile } from './source-file.ts';

/** `entries` are written `POST /v1/jobs`; path parameters count as equal whatever their name. */
export function routeProblems(files: SourceFile[], entries: string[]): string[] {
  const routes = routesOf(files);
  const listed = new Set(entries.map(withoutNames));
  const registered = new Set(routes.flatMap((route) => ('path' in route ? [keyOf(route)] : [])));
  const problems = routes.flatMap((route) => {
    if ('unreadable' in route) return [`${route.place} registers a route, but ${route.unreadable}`];
    if (!route.path.startsWith('/v1/') || listed.has(keyOf(route))) return [];
    return [`${route.place} ${route.method} ${route.path} is missing from the authorisation test`];
  });
  const stale = entries.filter((entry) => !registered.has(withoutNames(entry)));
  return [
    ...problems,
    ...stale.map((entry) => `the authorisation test lists ${entry}, which no file registers`),
  ];
}

export function routesOf(files: SourceFile[]) {
  return files
    .filter((file) => file.path.startsWith('src/api/') && !file.path.endsWith('.test.ts'))
    .flatMap((file) => file.routes.map((route) => ({ ...route, place: `${file.path}:${route.line}` })));
}

function keyOf(route: { method: string; path: string }): string {
  return withoutNames(`${route.method} ${route.path}`);
}

function withoutNames(entry: string): string {
  return entry.replace(/:\w+|\{\w+\}/g, '*');
}
