// API keys as the wire and the audit log show them: never a secret.
import type { ApiKeyRecord } from '../db/api-keys.ts';
import type { ApiKey } from '../protocol/api-key.ts';
import { nullableTimestamp, timestamp } from './job-view.ts';

export function keyView(key: ApiKeyRecord): ApiKey {
  return {
    object: 'api_key',
    uuid: key.id,
    account_uuid: key.accountId,
    user_uuid: key.userId,
    name: key.name,
    preset: key.preset,
    permissions: [...key.permissions],
    public_key: key.publicKey,
    node_uuid: key.nodeId,
    allowed_ips: [...key.allowedIps],
    rate_limit_per_second: key.rateLimitPerSecond,
    expires_at: nullableTimestamp(key.expiresAtMs),
    revoked_at: nullableTimestamp(key.revokedAtMs),
    previous_secret_until: nullableTimestamp(key.previousSecretUntilMs),
    created_at: timestamp(key.createdAtMs),
  };
}

/** What an audit entry keeps of the key: its rights after the change. */
export function keyDetail(key: ApiKeyRecord): Record<string, unknown> {
  const { name, preset, permissions, public_key, user_uuid, node_uuid, allowed_ips } = keyView(key);
  const rights = { name, preset, permissions, public_key, user_uuid, node_uuid, allowed_ips };
  return {
    ...rights,
    rate_limit_per_second: key.rateLimitPerSecond,
    expires_at: nullableTimestamp(key.expiresAtMs),
  };
}
