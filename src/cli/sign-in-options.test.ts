// Options of signing in: from flags, then environment, and one sentence for what is wrong with them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { signInOptions } from './sign-in-options.ts';

const flags = { oidcIssuer: 'https://login.example/realm', oidcClientId: 'flotilla' };

test('without a provider nobody signs in, and the address stands for itself', () => {
  assert.deepEqual(signInOptions({ env: {} }, {}), { oidc: null, publicUrl: null });
  const { publicUrl } = signInOptions({ env: {} }, { publicUrl: 'https://flotilla.example/' });
  assert.equal(publicUrl, 'https://flotilla.example');
});

test('flags go before the environment; mappings keep their order, and values their colons', () => {
  const oidcMap = ['groups=ml:research:consumer', 'iss=https://login.example:ops:cluster-admin'];
  const { oidc } = signInOptions(
    { env: { FLOTILLA_OIDC_ISSUER: 'https://other.example' } },
    { ...flags, oidcMap },
  );
  assert.deepEqual(oidc, {
    ...{
      issuer: flags.oidcIssuer,
      clientId: 'flotilla',
      clientSecretFile: null,
      scope: 'openid email profile',
    },
    mappings: [
      { claim: 'groups', value: 'ml', account: 'research', preset: 'consumer' },
      { claim: 'iss', value: 'https://login.example', account: 'ops', preset: 'cluster-admin' },
    ],
  });
  const env = {
    ...{ FLOTILLA_OIDC_ISSUER: 'https://e.example', FLOTILLA_OIDC_CLIENT_ID: 'e' },
    ...{ FLOTILLA_OIDC_CLIENT_SECRET_FILE: '/s', FLOTILLA_OIDC_SCOPE: 'openid groups' },
    ...{
      FLOTILLA_OIDC_MAP: 'sub=*:guests:consumer; email=a@b:admin:admin;',
      FLOTILLA_PUBLIC_URL: 'https://p',
    },
  };
  const fromEnvironment = signInOptions({ env }, {});
  assert.equal(fromEnvironment.publicUrl, 'https://p');
  assert.deepEqual(
    [fromEnvironment.oidc?.issuer, fromEnvironment.oidc?.clientSecretFile, fromEnvironment.oidc?.scope],
    ['https://e.example', '/s', 'openid groups'],
  );
  assert.deepEqual(
    fromEnvironment.oidc?.mappings.map(({ claim, account }) => `${claim} ${account}`),
    ['sub guests', 'email admin'],
  );
});

test('what is wrong is said', () => {
  const wrong = (own: object, message: RegExp) =>
    assert.throws(() => signInOptions({ env: {} }, { ...flags, ...own }), message);
  assert.throws(() => signInOptions({ env: {} }, { oidcIssuer: 'https://x' }), /Give both --oidc-issuer/);
  wrong({ oidcIssuer: 'login' }, /must be a URL such as/);
  wrong({ publicUrl: 'flotilla.example' }, /--public-url is "flotilla.example"/);
  for (const text of [
    'groups',
    'groups=ml',
    'groups=ml:research',
    'groups=ml:research:node',
    '=x:a:admin',
    'g=:a:admin',
  ])
    wrong({ oidcMap: [text] }, /write CLAIM=VALUE:ACCOUNT:PRESET/);
});
