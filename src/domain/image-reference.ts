// What an image reference names: its registry, and the one form that the engine cannot take for something else.

/** The registry that the engine asks where a reference names none. */
export const defaultRegistry = 'docker.io';

/**
 * `docker.io/library/busybox:1` for `busybox:1`. Short forms are ambiguous: the engine takes `sha256:<64 hex digits>` for the
 * id of an image on the node, whosever it is, and not for an image of that name.
 */
export function fullReference(reference: string): string {
  const { registry, path } = splitReference(reference);
  return `${registry}/${path}`;
}

/** Host, and port if there is one, of the registry that a reference names. */
export function registryOf(reference: string): string {
  return splitReference(reference).registry;
}

// Source: the reference grammar of github.com/distribution/reference: a first part with a dot or colon is a host.
function splitReference(reference: string): { registry: string; path: string } {
  const slash = reference.indexOf('/');
  const first = slash === -1 ? '' : reference.slice(0, slash);
  const isHost = /[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase();
  const registry = isHost ? first : defaultRegistry;
  const path = isHost ? reference.slice(slash + 1) : reference;
  if (registry === 'index.docker.io') return splitReference(`${defaultRegistry}/${path}`);
  return { registry, path: registry === defaultRegistry && !path.includes('/') ? `library/${path}` : path };
}
