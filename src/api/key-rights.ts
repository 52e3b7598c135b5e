// Nobody hands on more than they have: permissions, time, addresses and rate of a key against those of its maker.
import { isIP } from 'node:net';
import type { ApiKeyRecord, SigningKey } from '../db/api-keys.ts';
import type { Permission } from '../protocol/api-key.ts';
import type { Caller } from './auth.ts';
import { ApiError } from './errors.ts';
import { addressList } from './job-request.ts';

export type KeyRights = Pick<
  ApiKeyRecord,
  'permissions' | 'expiresAtMs' | 'allowedIps' | 'rateLimitPerSecond'
>;

/** Throws 403 unless the caller's key covers all of it. */
export function mayGrant({ key }: Caller, rights: KeyRights): void {
  mayGrantPermissions(key, rights.permissions);
  if (key.expiresAtMs !== null && (rights.expiresAtMs ?? Number.POSITIVE_INFINITY) > key.expiresAtMs)
    throw denied('cannot grant a key that works longer than itself');
  if (!coversAddresses(key.allowedIps, rights.allowedIps))
    throw denied('cannot grant a key for addresses other than its own allowed_ips');
  const limit = key.rateLimitPerSecond;
  if (limit !== null && (rights.rateLimitPerSecond ?? Number.POSITIVE_INFINITY) > limit)
    throw denied(`cannot grant a higher rate than its own ${limit} requests a second`);
}

export function mayGrantPermissions(
  key: Pick<SigningKey, 'permissions'>,
  permissions: readonly Permission[],
): void {
  const missing = permissions.filter((permission) => !key.permissions.includes(permission));
  if (missing.length > 0) throw denied(`cannot grant what it lacks: ${missing.join(', ')}`);
}

function denied(what: string): ApiError {
  return new ApiError('permission_denied', `This API key ${what}.`);
}

/** Each of `ranges` lies within one of `own`; an empty list is every address. */
function coversAddresses(own: readonly string[], ranges: readonly string[]): boolean {
  if (own.length === 0) return true;
  return ranges.length > 0 && ranges.every((range) => own.some((outer) => isWithin(range, outer)));
}

/** Of one family: an IPv6 range of mapped addresses counts its prefix otherwise. */
function isWithin(range: string, outer: string): boolean {
  const [inner, around] = [partsOf(range), partsOf(outer)];
  if (inner.family !== around.family || around.prefix > inner.prefix) return false;
  return addressList([outer]).check(inner.address, inner.family);
}

function partsOf(range: string): { address: string; family: 'ipv4' | 'ipv6'; prefix: number } {
  const [address = '', prefix] = range.split('/');
  const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
  return { address, family, prefix: prefix === undefined ? (family === 'ipv6' ? 128 : 32) : Number(prefix) };
}
