// What of a key's rights no key can have: a past expiry, ranges that are none, more than its user's role, too high a rate.
import type { Sql } from '../db/database.ts';
import { getRateLimit } from '../db/rate-limit.ts';
import type { UserRecord } from '../db/users.ts';
import type { KeyPreset } from '../protocol/api-key.ts';
import type { FieldIssue } from '../protocol/error.ts';
import { isClusterAdmin } from './account-scope.ts';
import type { Caller } from './auth.ts';
import { ApiError, validationFailed } from './errors.ts';
import { isAddressRange } from './job-request.ts';
import { rolePermissions } from './key-presets.ts';
import type { KeyRights } from './key-rights.ts';

const latestExpiryMs = Date.UTC(9999, 0);

/** One 400 with every wrong field. `preset` is of a new key; `nowMs` null: the expiry is not new. */
export function checkKeyRights(
  { rights, user, preset }: { rights: KeyRights; user: UserRecord | null; preset?: KeyPreset },
  nowMs: number | null,
): void {
  const { expiresAtMs, allowedIps, permissions } = rights;
  const issues: FieldIssue[] = [];
  if (preset === 'node') {
    const expected = 'admin, consumer or operator; a node gets its key from POST /v1/nodes';
    issues.push({ path: 'preset', expected });
  }
  const isPast =
    expiresAtMs !== null && nowMs !== null && !(expiresAtMs > nowMs && expiresAtMs < latestExpiryMs);
  if (isPast) issues.push({ path: 'expires_at', expected: 'a time in the future (RFC 3339)' });
  for (const [index, range] of allowedIps.entries()) {
    if (isAddressRange(range)) continue;
    const expected = 'an IP address or CIDR, such as 203.0.113.7/32';
    issues.push({ path: `allowed_ips[${index}]`, expected, received: range });
  }
  const bounds = user === null ? permissions : rolePermissions[user.role];
  const beyond = permissions.filter((permission) => !bounds.includes(permission));
  if (beyond.length > 0) {
    const expected = `what the user's role ${user?.role} may do`;
    issues.push({ path: 'permissions', expected, received: beyond.join(', ') });
  }
  if (issues.length > 0) throw validationFailed(issues);
}

/** Above the cluster's rate limit only its admin sets one. */
export async function mayRaiseRate(
  { rateLimitPerSecond }: KeyRights,
  { caller, sql }: { caller: Caller; sql: Sql },
): Promise<void> {
  if (rateLimitPerSecond === null || isClusterAdmin(caller)) return;
  if (rateLimitPerSecond === caller.key.rateLimitPerSecond) return;
  const limit = await getRateLimit(sql);
  if (rateLimitPerSecond <= limit) return;
  throw new ApiError(
    'permission_denied',
    `The cluster's rate limit is ${limit} requests a second; only its admin sets a higher one.`,
  );
}
