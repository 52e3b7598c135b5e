// The long-running roles of the program, as the command line asks for them; src/main.ts implements them.

export interface DatabaseOptions {
  /** null: the embedded PostgreSQL. */
  databaseUrl: string | null;
  /** The same database past the pooler that `databaseUrl` goes through; null: there is no pooler. */
  databaseDirectUrl: string | null;
}

/** How a server listens and where its state lies. */
export interface ServerOptions extends DatabaseOptions {
  /** 0: any free port. */
  port: number;
  host: string;
  dataDirectory: string;
  tls: { certFile: string; keyFile: string } | null;
  isInsecureHttpAllowed: boolean;
  /** Addresses or CIDRs of proxies whose X-Forwarded-For is believed. */
  trustedProxies: string[];
  /** How long a server that stops goes on serving, so that balancers notice. */
  drainDelayMs: number;
  /** Jobs of every account go also to nodes that do not enforce isolation. */
  trustTenants: boolean;
  /** Private hosts, addresses and ranges that webhooks may point at. */
  allowedWebhooks: string[];
  /** Silence after which a node is lost; null: the default. */
  lostAfterMs: number | null;
  gateway: GatewayOptions;
  /** Origin that browsers reach the servers by; null: where this one listens. */
  publicUrl: string | null;
  /** null: nobody signs in by OpenID Connect. */
  oidc: OidcOptions | null;
}

/** The provider that people sign in with. */
export interface OidcOptions {
  issuer: string;
  clientId: string;
  /** null: a public client. */
  clientSecretFile: string | null;
  scope: string;
  mappings: IdentityMapping[];
}

/** Whose claim has the value acts for the account with the preset's rights. */
export interface IdentityMapping {
  claim: string;
  value: string;
  account: string;
  preset: string;
}

/** The public door to ports of containers; null is the default. */
export interface GatewayOptions {
  /** What node_urls name. */
  hostname: string | null;
  /** Address that public ports are listened on. */
  listenHost: string | null;
  ports: { from: number; to: number };
  tls: { certFile: string; keyFile: string } | null;
  isPlainAllowed: boolean;
  hasProxyProtocol: boolean;
  allowedRanges: string[];
  advertisedUrl: string | null;
}

/** How the agent of a machine behaves. */
export interface AgentSettings {
  /** null: found by DOCKER_HOST and the usual sockets. */
  dockerSocket: string | null;
  /** Runs may reach private networks. */
  isLanAllowed: boolean;
  /** Registries on private addresses that jobs may name. */
  allowedRegistries: string[];
  /** null: a fifth of the engine's disk. */
  imageCacheBytes: number | null;
  /** null: in the data directory. */
  stateDirectory: string | null;
  /** The node serves public ports itself, under this host (empty: the gateway's); null: the gateway does. */
  publicHost: string | null;
  /** Without the server for so long the agent stops its runs; null: it keeps them. */
  stopWhenCutOffMs: number | null;
}

export interface UpOptions extends ServerOptions, AgentSettings {
  /** End after the hello job; the exit code says whether it was COMPLETED. */
  isOnce: boolean;
  hasHello: boolean;
}

export interface NodeKey {
  url: string;
  publicKey: string;
  secretKey: string;
  nodeUuid: string;
  /** PEM of the server's certificate authority, when it is a private one. */
  ca: string | null;
}

export interface NodeRunOptions extends AgentSettings {
  key: NodeKey;
  /** At least one; any of them serves the node. */
  serverUrls: string[];
}

/** Where the data of a stopped server lies. */
export interface DataOptions extends DatabaseOptions {
  dataDirectory: string;
}

export interface RecoveredKey {
  publicKey: string;
  secretKey: string;
  /** Where it was written; null when nowhere. */
  keyFile: string | null;
}

/** Each role resolves to the exit code of the process when it has ended. */
export interface Roles {
  version: string;
  up(options: UpOptions): Promise<number>;
  server(options: ServerOptions): Promise<number>;
  nodeRun(options: NodeRunOptions): Promise<number>;
  keyRecover(options: DataOptions): Promise<RecoveredKey>;
  /** The cluster's new generation. */
  clusterRestored(options: DataOptions): Promise<number>;
}
