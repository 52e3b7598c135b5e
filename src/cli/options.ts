// Options that several commands share, and readers that turn their text into values or say what is wrong with it.
import { type Command, InvalidArgumentError } from 'commander';
import type { ConnectionOptions } from './connection.ts';
import { parseDurationMs } from './duration.ts';

export type ConnectionFlags = ConnectionOptions;

export interface ApiFlags extends ConnectionFlags {
  json?: true;
}

/** `--json` and how to reach the server, under a heading of their own in the help. */
export function withApiOptions(command: Command, jsonText = 'print the API object'): Command {
  return withConnectionOptions(command.option('--json', jsonText));
}

/** How to reach the server alone, for commands whose output is not the API's. */
export function withConnectionOptions(command: Command): Command {
  return command
    .optionsGroup('Connection:')
    .option('--url <url>', 'address of the server (FLOTILLA_URL)')
    .option('--key-file <file>', 'JSON file with public_key, secret_key and url (FLOTILLA_KEY_FILE)')
    .option(
      '--ca-file <file>',
      "PEM of the authority that signed the server's certificate (FLOTILLA_CA_FILE)",
    );
}

/** Collects the values of an option that may be given several times. */
export function collect(value: string, previous: string[] = []): string[] {
  return [...previous, value];
}

/** Turns our errors into commander's, which name the option. */
export function reader<T>(read: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return read(text);
    } catch (error) {
      throw new InvalidArgumentError(error instanceof Error ? error.message : String(error));
    }
  };
}

export const durationMs = reader(parseDurationMs);

export function numberFrom0(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value < 0) {
    throw new InvalidArgumentError('It must be a number of at least 0.');
  }
  return value;
}

export function integer(text: string): number {
  if (!/^-?\d{1,15}$/.test(text)) throw new InvalidArgumentError('It must be a whole number.');
  return Number(text);
}

export function integerFrom1(text: string): number {
  const value = integer(text);
  if (value < 1) throw new InvalidArgumentError('It must be a whole number of at least 1.');
  return value;
}

/** A port; 0 means any free one. */
export function port(text: string): number {
  const value = integer(text);
  if (value < 0 || value > 65_535) throw new InvalidArgumentError('It must be a port, 0 to 65535.');
  return value;
}

export function ports(text: string, previous: number[] = []): number[] {
  const value = port(text);
  if (value === 0) throw new InvalidArgumentError('It must be a port, 1 to 65535.');
  return [...previous, value];
}
