// Every signed route of the API, as 'METHOD /path': the authorisation test takes each of them through its refusals.

export const authorisedRoutes: string[] = [
  'POST /v1/jobs',
  'GET /v1/jobs',
  'GET /v1/jobs/{uuid}',
  'GET /v1/jobs/{uuid}/receipt',
  'PUT /v1/jobs/{uuid}/cancel',
  'POST /v1/jobs/{uuid}/renew',
  'POST /v1/jobs/cancel',
  'GET /v1/job-runs',
  'GET /v1/jobs-runs',
  'GET /v1/job-runs/{uuid}',
  'GET /v1/job-runs/{uuid}/logs',
  'GET /v1/job-runs/{uuid}/receipt',
  'POST /v1/job-runs/{uuid}/exec',
  'GET /v1/job-runs/{uuid}/files',
  'PUT /v1/job-runs/{uuid}/files',
  'POST /v1/nodes',
  'GET /v1/nodes',
  'GET /v1/nodes/{uuid}',
  'GET /v1/nodes/{uuid}/events',
  'PUT /v1/nodes/{uuid}/cordon',
  'PUT /v1/nodes/{uuid}/uncordon',
  'PUT /v1/nodes/{uuid}/drain',
  'PUT /v1/nodes/{uuid}/remove',
  'PUT /v1/nodes/{uuid}/accept-restore',
  'POST /v1/api-keys',
  'GET /v1/api-keys',
  'DELETE /v1/api-keys/{uuid}',
  'POST /v1/job-recipes',
  'GET /v1/job-recipes',
  'GET /v1/job-recipes/{uuid}',
  'PUT /v1/job-recipes/{uuid}',
  'PUT /v1/job-recipes/{uuid}/archive',
  'POST /v1/job-recipes/{uuid}/fork',
  'POST /v1/job-recipes/{uuid}/cook',
  'GET /v1/gpu-registry',
  'GET /v1/gpu-registry/{uuid}',
  'POST /v1/gpu-registry',
  'PUT /v1/gpu-registry/{uuid}',
  'GET /v1/compute/rates',
  'PUT /v1/compute/rates',
  'GET /v1/compute/offers',
  'GET /v1/compute/ledger/transactions',
  'GET /v1/compute/ledger/verification',
  'GET /v1/accounts/{uuid}/balance',
  'POST /v1/accounts/{uuid}/credits',
  'POST /v1/sign-in',
];

/** Open to everyone who knows the secret in the body, or to everyone. */
export const openRoutes: string[] = [
  'GET /.well-known/jwks',
  'POST /v1/sign-in/refresh',
  'POST /v1/sign-out',
];

/** What belongs to the cluster: the same for every account that may see it, and changed by the cluster's admin alone. */
export const clusterRoutes =
  /^\w+ \/v1\/(gpu-registry|compute\/(rates|offers|ledger\/verification)|accounts\/\{uuid\}\/credits)/;
