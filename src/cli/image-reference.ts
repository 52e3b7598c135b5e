// Splits an image as people write it into the image and tag that the API takes apart.
import { UsageError } from './errors.ts';

export interface ImageReference {
  image: string;
  tag: string;
}

/** `host:5000/a/b:1.2` is image `host:5000/a/b`, tag `1.2`; without a tag it is `latest`. Digests are refused. */
export function parseImageReference(text: string): ImageReference {
  if (text.includes('@')) {
    throw new UsageError(
      `"${text}" names a digest, which jobs cannot ask for yet: name the image as IMAGE:TAG instead.`,
    );
  }
  const nameStart = text.lastIndexOf('/') + 1;
  const colon = text.indexOf(':', nameStart);
  const image = colon === -1 ? text : text.slice(0, colon);
  const tag = colon === -1 ? 'latest' : text.slice(colon + 1);
  if (!isImage(image)) throw new UsageError(`"${text}" is not an image: write IMAGE or IMAGE:TAG.`);
  if (!/^[\w][\w.-]{0,127}$/.test(tag)) {
    throw new UsageError(`"${tag}" is not a tag: it takes letters, digits and ._- and at most 128 of them.`);
  }
  return { image, tag };
}

function isImage(image: string): boolean {
  const [first = '', ...rest] = image.split('/');
  const hasHost = rest.length > 0 && (first.includes('.') || first.includes(':') || first === 'localhost');
  if (hasHost && !/^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?$/.test(first)) return false;
  const path = hasHost ? rest : [first, ...rest];
  return path.every((part) => /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/.test(part));
}
