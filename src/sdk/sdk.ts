// The door of the package: what `import … from 'flotilla/sdk'` gives, and nothing of our own goes through it.
export type { Account, CreateAccountBody } from '../protocol/account.ts';
export type {
  ApiKey,
  CreateApiKeyBody,
  CreatedApiKey,
  Permission,
  RotateApiKeyBody,
  UpdateApiKeyBody,
} from '../protocol/api-key.ts';
export type { AuditEntry, AuditVerification } from '../protocol/audit.ts';
export type { BillingBody, BillingSettings, PrepaidBody } from '../protocol/billing.ts';
export type { NodeEpoch } from '../protocol/epoch.ts';
export type { ErrorCode, FieldIssue } from '../protocol/error.ts';
export type { Event, StreamTicket } from '../protocol/event.ts';
export type { FilesWritten } from '../protocol/files.ts';
export type {
  CreateGpuRegistryBody,
  GpuRegistryEntry,
  RateCard,
  RatesBody,
  UpdateGpuRegistryBody,
} from '../protocol/gpu-registry.ts';
export type { CancelJobBody, CreateJobBody, Job, NodeUrl } from '../protocol/job.ts';
export type { JobRun, JobRunDetail, JobRunLogs } from '../protocol/job-run.ts';
export type { CancelJobsBody, JobFilter, JobStops } from '../protocol/job-stop.ts';
export type { Balance, CreditBody, LedgerTransaction, LedgerVerification } from '../protocol/ledger.ts';
export type { ListEnvelope } from '../protocol/list.ts';
export type {
  ChangeNodeBody,
  CreatedNode,
  CreateNodeBody,
  DrainNodeBody,
  Node,
  NodeEvent,
  RemoveNodeBody,
} from '../protocol/node.ts';
export type { JobDryRun, Offer } from '../protocol/offer.ts';
export type { RateLimitBody, RateLimitSetting } from '../protocol/rate-limit.ts';
export type { Receipt } from '../protocol/receipt.ts';
export type {
  CreateRecipeBody,
  ForkRecipeBody,
  Recipe,
  RecipeInputField,
  UpdateRecipeBody,
} from '../protocol/recipe.ts';
export type { JwkSet, Session, SessionTokens, SignInBody } from '../protocol/sign-in.ts';
export type { JobRunStats, NodeStats } from '../protocol/stats.ts';
export type { CreateUserBody, Me, UpdateUserBody, User } from '../protocol/user.ts';
export type { CreateWebhookBody, UpdateWebhookBody, Webhook, WebhookDelivery } from '../protocol/webhook.ts';
export { type Client, type ClientOptions, type Credentials, createClient } from './client.ts';
export { clientFromEnvironment } from './environment.ts';
export { ApiError, ConnectionError } from './errors.ts';
export type { FollowEventsOptions, FollowedEvent } from './events.ts';
export { CommandNotRun, type Exec, type ExecOptions } from './exec.ts';
export type { WriteFilesOptions } from './files.ts';
export type { Followed, FollowOptions } from './follow-logs.ts';
export type { ListQuery } from './query.ts';
export { isTransient } from './retry.ts';
export { signRequest } from './sign.ts';
export {
  endSession,
  refreshSession,
  renewingTokens,
  sessionForCode,
  type TokenSource,
} from './sign-in.ts';
export { verifyWebhook, WebhookRefused } from './verify-webhook.ts';
export { type WaitOptions, WaitTimeoutError } from './wait-for-job.ts';
