// From the engine's error texts to a stable code and a sentence that a user understands.
import { RuntimeError } from './runtime.ts';

interface Rule {
  pattern: RegExp;
  code: string;
  sentence: (subject: string) => string;
}

const noSpace: Rule = {
  pattern: /no space left on device|disk quota exceeded/i,
  code: 'no_space',
  sentence: (subject) =>
    `The node's disk is full, so ${subject} could not be stored; run the job on another node.`,
};

/** Checked in order: a network failure may quote words of the later ones. */
const pullRules: readonly Rule[] = [
  noSpace,
  {
    pattern:
      /connection refused|no such host|network is unreachable|no route to host|i\/o timeout|timeout|deadline exceeded|server misbehaving|connection reset|\bEOF\b|HTTP response to HTTPS|x509|tls:|dial tcp/i,
    code: 'registry_unreachable',
    sentence: (subject) =>
      `The registry of image ${subject} cannot be reached from the node; check its address and network.`,
  },
  {
    pattern: /no matching manifest for|does not match the (specified|detected) platform/i,
    code: 'image_platform_mismatch',
    sentence: (subject) =>
      `Image ${subject} has no build for this node's processor; push one for its architecture.`,
  },
  {
    pattern: /repository does not exist or may require/i,
    code: 'image_not_found',
    sentence: (subject) =>
      `Image ${subject} was not found, or its registry asks for a login; check name, user and secret.`,
  },
  {
    pattern:
      /unauthorized|authentication required|no basic auth|access denied|denied:|forbidden|incorrect username/i,
    code: 'pull_unauthorized',
    sentence: (subject) => `The registry refused image ${subject}; check user and secret.`,
  },
  {
    pattern: /manifest unknown|name unknown|not found|no such image|invalid reference|name_unknown/i,
    code: 'image_not_found',
    sentence: (subject) => `Image ${subject} was not found; check its name and tag.`,
  },
];

const startRules: readonly Rule[] = [
  noSpace,
  {
    pattern:
      /could not select device driver|nvidia-container|unknown device|no cuda-capable|device or resource busy/i,
    code: 'gpu_unavailable',
    sentence: () =>
      'The node could not give its GPU to the container; its GPU driver or container toolkit is not working.',
  },
  {
    pattern: /exec format error/i,
    code: 'image_platform_mismatch',
    sentence: () =>
      "The container's program was built for another processor; use an image for this node's architecture.",
  },
  {
    pattern:
      /executable file not found|no such file or directory|is a directory|permission denied|no command specified/i,
    code: 'bad_command',
    sentence: () => "The container's program cannot be run; check command, entrypoint and image.",
  },
  {
    pattern: /no such image/i,
    code: 'image_not_found',
    sentence: () => 'The image was removed from the node before the container started; submit the job again.',
  },
];

/** `text` is what the engine said. */
export function pullError(image: string, text: string): RuntimeError {
  const rule = pullRules.find(({ pattern }) => pattern.test(text));
  const subject = `"${image}"`;
  const sentence = rule?.sentence(subject) ?? `Image ${subject} could not be pulled.`;
  return new RuntimeError(rule?.code ?? 'pull_failed', sentence, { engineText: text });
}

/** Without a word of the engine's: it may go on with the pull. */
export function registrySilent(image: string): RuntimeError {
  return new RuntimeError(
    'registry_unreachable',
    `The registry of image "${image}" sent nothing for three minutes; check its network and try again.`,
  );
}

/** `text` is what the engine said when the container was created or started. */
export function startError(text: string): RuntimeError {
  const rule = startRules.find(({ pattern }) => pattern.test(text));
  const sentence = rule?.sentence('the container') ?? 'The container could not be started.';
  return new RuntimeError(rule?.code ?? 'start_failed', sentence, { engineText: text });
}

/** `text` is what the engine said when a volume was made or filled. */
export function volumeError(text: string): RuntimeError {
  if (noSpace.pattern.test(text)) {
    return new RuntimeError('no_space', noSpace.sentence('the volume'), { engineText: text });
  }
  const sentence = 'The files of the image could not be copied into a volume.';
  return new RuntimeError('volume_failed', sentence, { engineText: text });
}

/** The sentence, then what the engine said without any of `secrets`: fit to leave the node. */
export function tellWithout(secrets: readonly string[], error: RuntimeError): string {
  if (error.engineText === null) return error.message;
  const engineText = redact(error.engineText, secrets).trim().slice(0, maxEngineTextLength);
  return `${error.message} (${engineText})`;
}

/** Shorter values ("1", "on") are no secrets, and hiding them would make every text unreadable. */
const minSecretLength = 4;
const maxEngineTextLength = 1000;

/** Replaces every secret, also as JSON or as part of a URL, by `***`. */
export function redact(text: string, secrets: readonly string[]): string {
  const forms = secrets
    .filter((secret) => secret.length >= minSecretLength)
    .flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret)])
    .sort((a, b) => b.length - a.length);
  return forms.reduce((redacted, form) => redacted.replaceAll(form, '***'), text);
}

/** A removal of much data outlives the call that asked for it; the next call is told so. */
export function removeError(engineText: string): RuntimeError {
  return /is already in progress/.test(engineText)
    ? new RuntimeError('removal_under_way', 'The engine is still removing the container.', { engineText })
    : new RuntimeError('engine_error', 'The engine cannot remove the container.', { engineText });
}
