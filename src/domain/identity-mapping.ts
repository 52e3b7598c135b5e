// Which account and rights the claims of a person's ID token give, by the operator's mappings; without one, none.

/** A person whose `claim` is, or contains, `value` acts for `account` (name or uuid) with the rights of `preset`. */
export interface IdentityMapping {
  claim: string;
  /** `*`: whatever it is. */
  value: string;
  account: string;
  preset: string;
}

/** The first mapping that fits. An e-mail address counts only where the provider says that it was verified. */
export function mappingFor(
  claims: Readonly<Record<string, unknown>>,
  mappings: readonly IdentityMapping[],
): IdentityMapping | null {
  return mappings.find((mapping) => fits(claims, mapping)) ?? null;
}

function fits(claims: Readonly<Record<string, unknown>>, { claim, value }: IdentityMapping): boolean {
  if (!Object.hasOwn(claims, claim)) return false;
  if (claim === 'email' && claims.email_verified !== true) return false;
  const values = [claims[claim]].flat().filter(isPlain).map(String);
  if (value === '*') return values.length > 0;
  return values.some((one) =>
    claim === 'email' ? one.toLowerCase() === value.toLowerCase() : one === value,
  );
}

function isPlain(value: unknown): boolean {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
}
