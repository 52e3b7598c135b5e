// Presets of API keys: which permissions each stands for, and how a new pair is made.
import { type KeyPreset, type Permission, permissions } from '../protocol/api-key.ts';
import type { UserRole } from '../protocol/user.ts';

export const presetPermissions: Record<KeyPreset, readonly Permission[]> = {
  // Of its account; the key that a server makes on its own machine is the cluster's admin beside that.
  admin: permissions.filter((permission) => permission !== 'cluster:admin'),
  consumer: [
    'jobs:create',
    'jobs:read',
    'jobs:cancel',
    'jobs:exec',
    'nodes:read',
    'offers:read',
    'ledger:read',
    'recipes:read',
    'recipes:write',
    'webhooks:read',
    'webhooks:write',
  ],
  operator: ['nodes:read', 'nodes:write'],
  node: [],
};

/** The most that any key of a user of that role may do. */
export const rolePermissions: Record<UserRole, readonly Permission[]> = {
  admin: permissions,
  consumer: presetPermissions.consumer,
  operator: presetPermissions.operator,
};

/** A fresh public and secret key; 24 and 40 letters and digits. */
export function newKeyPair(newToken: (length: number) => string): { publicKey: string; secret: string } {
  return { publicKey: `pk_${newToken(24)}`, secret: `sk_${newToken(40)}` };
}
