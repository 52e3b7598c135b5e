-- Sign-in: keys that sign access tokens, sessions and their refresh tokens, and people known to an OpenID Connect provider.

-- The newest whose time has come signs; it is published before that, and the one before it verifies for a while after.
create table token_keys (
  id uuid primary key,
  public_jwk jsonb not null,
  private_sealed bytea not null,
  signs_from timestamptz not null,
  created_at timestamptz not null default flotilla_now()
);

-- Someone whom the provider vouches for, and what the operator's mapping made of the claims at the last sign-in.
create table identities (
  id uuid primary key,
  issuer text not null,
  subject text not null,
  email text,
  account_id uuid not null references accounts (id),
  preset text not null,
  permissions text[] not null,
  created_at timestamptz not null default flotilla_now(),
  signed_in_at timestamptz not null default flotilla_now(),
  unique (issuer, subject)
);

-- One sign-in with a key or as an identity. Every access token names its session, and ends with it.
create table sessions (
  id uuid primary key,
  account_id uuid not null references accounts (id),
  key_id uuid references api_keys (id) on delete cascade,
  identity_id uuid references identities (id) on delete cascade,
  -- At most these, and at most what the key or identity has at the moment.
  permissions text[] not null,
  address text not null,
  created_at timestamptz not null default flotilla_now(),
  expires_at timestamptz not null,
  revoked_at timestamptz,
  revoked_reason text,
  check ((key_id is null) <> (identity_id is null))
);
create index sessions_by_account on sessions (account_id, created_at desc);
create index sessions_by_expiry on sessions (expires_at);

-- Each works once; one that is shown again ends its session.
create table refresh_tokens (
  hash bytea primary key,
  session_id uuid not null references sessions (id) on delete cascade,
  expires_at timestamptz not null,
  used_at timestamptz
);
create index refresh_tokens_by_session on refresh_tokens (session_id);

-- A browser on its way to the provider and back: bound to it by a cookie, and to the client by the challenge.
create table sign_in_attempts (
  state_hash bytea primary key,
  browser_hash bytea not null,
  secrets_sealed bytea not null,
  redirect_uri text not null,
  client_state text not null,
  code_challenge text not null,
  expires_at timestamptz not null
);

-- What the client gets by way of the browser, and changes for tokens with the verifier of its challenge.
create table sign_in_codes (
  hash bytea primary key,
  identity_id uuid not null references identities (id) on delete cascade,
  code_challenge text not null,
  expires_at timestamptz not null
);
