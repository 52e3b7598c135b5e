// Rules that no schema can say of an image and its registry: names, tags, hosts and credentials that go together.
import type { FieldIssue } from '../protocol/error.ts';

type Fields = Record<string, unknown>;

export const maskedSecret = '***';

// Source: the image reference grammar of the OCI distribution specification.
const namePart = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const hostPart =
  '(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)(?:\\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*(?::\\d{1,5})?';
const imagePattern = new RegExp(`^(?:${hostPart}/)?${namePart}(?:/${namePart})*$`);
const hostPattern = new RegExp(`^${hostPart}$`);
const tagPattern = /^\w[\w.-]{0,127}$/;

/** `path` is where `image` and `tag` stand in the body. */
export function imageIssues({ image, tag }: Fields, path: string): FieldIssue[] {
  if (typeof image !== 'string' || image === '') return [];
  const at = `${path}.image`;
  if (image.includes('@')) return [{ path: at, expected: 'an image without a digest; give name and tag' }];
  const inline = splitImage(image, null);
  const issues: FieldIssue[] = [];
  if (!imagePattern.test(inline.image))
    issues.push({
      path: at,
      expected: 'an image name such as busybox or ghcr.io/owner/name',
      received: image.slice(0, 80),
    });
  const given = typeof tag === 'string' && tag !== '' ? tag : null;
  if (given !== null && !tagPattern.test(given))
    issues.push({
      path: `${path}.tag`,
      expected: 'an image tag of letters, digits and ._-',
      received: given.slice(0, 80),
    });
  const hasInlineTag = inline.image !== image;
  if (hasInlineTag && !tagPattern.test(inline.tag))
    issues.push({ path: at, expected: 'an image tag of letters, digits and ._- after the colon' });
  if (hasInlineTag && given !== null && given !== inline.tag) {
    issues.push({
      path: `${path}.tag`,
      expected: `${inline.tag.slice(0, 80)}, the tag inside image, or no tag`,
      received: given.slice(0, 80),
    });
  }
  return issues;
}

/** `name:tag` as name and tag; a colon before the last slash is a registry's port. */
export function splitImage(image: string, tag: string | null): { image: string; tag: string } {
  const colon = image.lastIndexOf(':');
  if (colon > image.lastIndexOf('/')) return { image: image.slice(0, colon), tag: image.slice(colon + 1) };
  return { image, tag: tag ?? 'latest' };
}

/** `hostField` is what the registry's host is called there. */
export function registryIssues(
  fields: Fields,
  { path, hostField }: { path: string; hostField: 'host' | 'registry' },
): FieldIssue[] {
  const { secret, user, image } = fields;
  const host = fields[hostField];
  const issues: FieldIssue[] = [];
  if (typeof host === 'string' && host !== '' && !hostPattern.test(host)) {
    issues.push({
      path: `${path}.${hostField}`,
      expected: 'a registry host without scheme or path, such as registry.example.com',
      received: host.slice(0, 80),
    });
  }
  if (secret === maskedSecret)
    issues.push({ path: `${path}.secret`, expected: 'the secret itself; *** is only how it is shown' });
  if (secret && !user)
    issues.push({ path: `${path}.user`, expected: 'the registry user that the secret belongs to' });
  if (host && typeof image === 'string' && image.startsWith(`${host}/`)) {
    issues.push({
      path: `${path}.image`,
      expected: `an image path without the registry host when ${hostField} is given`,
    });
  }
  return issues;
}
