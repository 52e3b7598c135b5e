// What the engine says when a user asks for something that is not in the container, as sentences without the host's paths.

/** A refusal that a user can do something about; `status` and `code` are those of the API. */
export class ContainerDoorClosed extends Error {
  override name = 'ContainerDoorClosed';
  readonly status: number;
  readonly code: string;

  constructor(refusal: { status: number; code: string; message: string }, cause?: unknown) {
    super(refusal.message, { cause });
    this.status = refusal.status;
    this.code = refusal.code;
  }
}

interface Rule {
  pattern: RegExp;
  status: number;
  code: string;
  sentence: (path: string) => string;
}

/** Seen on Docker Engine 20.10 to 28; the wording of the first match wins. */
const rules: readonly Rule[] = [
  {
    pattern: /Could not find the file|no such file or directory/i,
    status: 404,
    code: 'not_found',
    sentence: (path) => `There is no ${quoted(path)} in the container.`,
  },
  {
    pattern: /not a directory/i,
    status: 409,
    code: 'conflict',
    sentence: (path) => `${quoted(path)} in the container is not a folder.`,
  },
  {
    pattern: /read-only/i,
    status: 409,
    code: 'conflict',
    sentence: (path) => `${quoted(path)} in the container is read-only.`,
  },
  {
    pattern: /cannot overwrite (non-)?directory/i,
    status: 409,
    code: 'conflict',
    sentence: (path) => `A folder in ${quoted(path)} would be replaced by a file, or a file by a folder.`,
  },
  {
    pattern: /no space left|quota exceeded/i,
    status: 409,
    code: 'conflict',
    sentence: () => 'There is no space left on the disk of the node.',
  },
  {
    pattern: /unexpected EOF|invalid tar|archive\/tar/i,
    status: 409,
    code: 'conflict',
    sentence: () => 'The upload is not a readable tar stream.',
  },
  {
    pattern: /is not running|No such container|is paused|is restarting/i,
    status: 409,
    code: 'conflict',
    sentence: () => 'The container is not running any more.',
  },
];

/** Any failure of an engine call; what no rule knows is the node's trouble, told without the engine's words. */
export function doorRefusal(error: unknown, path: string | null): ContainerDoorClosed {
  const { json, message, statusCode } = error as {
    json?: { message?: string } | null;
    message?: string;
    statusCode?: number;
  };
  // Without a body there is only the client's own guess at the status, which is not the engine's word.
  const text = json?.message ?? (message ?? '').replace(/^\(HTTP code \d+\) [^-]*- /, '');
  const rule = rules.find(({ pattern }) => pattern.test(text)) ?? (statusCode === 404 ? rules[0] : undefined);
  if (rule !== undefined) {
    const { status, code, sentence } = rule;
    return new ContainerDoorClosed({ status, code, message: sentence(path ?? 'this program') }, error);
  }
  const sentence = 'The container engine of the node could not do this; its agent says why in its log.';
  return new ContainerDoorClosed({ status: 502, code: 'unavailable', message: sentence }, error);
}

/** What the engine printed in the place of a program's output when it could not start the program. */
export function startRefusal(
  program: string,
  engineText: string,
): { code: string; message: string; exit_code: number } {
  if (/permission denied|exec format error/i.test(engineText)) {
    const message = `${quoted(program)} in the container is not a program that can be run.`;
    return { code: 'command_not_executable', message, exit_code: 126 };
  }
  if (/not found|no such file/i.test(engineText)) {
    const message = `There is no program ${quoted(program)} in the container.`;
    return { code: 'command_not_found', message, exit_code: 127 };
  }
  const message = `The container engine could not start ${quoted(program)}.`;
  return { code: 'command_not_started', message, exit_code: 126 };
}

function quoted(text: string): string {
  return `"${text.length > 200 ? `${text.slice(0, 200)}…` : text}"`;
}
