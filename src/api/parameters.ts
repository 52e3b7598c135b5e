// Reads a query of single values: each parameter is checked and comes once; an unknown one names those that exist.
import type { FieldIssue } from '../protocol/error.ts';
import { validationFailed } from './errors.ts';
import { nearestWord } from './nearest-word.ts';

/** One parameter: what it is for a sentence, and how its text reads; undefined: the text is not that. */
export interface ParameterRule<T> {
  expected: string;
  read: (text: string) => T | undefined;
}

export type ParameterRules<Values> = { readonly [Name in keyof Values]: ParameterRule<Values[Name]> };

/** What was given of them, or one validation error with everything that is wrong. */
export function readParameters<Values extends object>(
  rawQuery: string,
  rules: ParameterRules<Values>,
): Partial<Values> {
  const values: Partial<Values> = {};
  const issues = [...new URLSearchParams(rawQuery)].flatMap(([name, text]) => {
    if (!isKnown(name, rules)) return [unknownParameter(name, Object.keys(rules))];
    if (values[name] !== undefined) return [givenTwice(name)];
    const value = rules[name].read(text);
    if (value === undefined)
      return [{ path: name, expected: rules[name].expected, received: text.slice(0, 40) }];
    values[name] = value;
    return [];
  });
  if (issues.length > 0) throw validationFailed(issues);
  return values;
}

export function givenTwice(name: string): FieldIssue {
  return { path: name, expected: 'this parameter once', received: 'it twice' };
}

/** A whole number of so many; for `read`. */
export function wholeNumber(least: number, most: number): (text: string) => number | undefined {
  return (text) => {
    const number = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
    return number >= least && number <= most ? number : undefined;
  };
}

function isKnown<Values>(name: string, rules: ParameterRules<Values>): name is string & keyof Values {
  return Object.hasOwn(rules, name);
}

function unknownParameter(name: string, known: string[]): FieldIssue {
  const nearest = nearestWord(name, known);
  return {
    path: name.slice(0, 80),
    expected: known.length === 1 ? `only ${known[0]}` : `one of ${known.join(', ')}`,
    received: 'an unknown parameter',
    ...(nearest === undefined ? {} : { hint: `did you mean ${nearest}?` }),
  };
}
