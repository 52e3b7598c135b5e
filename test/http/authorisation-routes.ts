// Every signed route of the API, as 'METHOD /path': the authorisation test takes each of them through its refusals.

export const authorisedRoutes: string[] = [
  'POST /v1/jobs',
  'GET /v1/jobs',
  'GET /v1/jobs/{uuid}',
  'PUT /v1/jobs/{uuid}/cancel',
  'POST /v1/jobs/cancel',
  'GET /v1/job-runs',
  'GET /v1/jobs-runs',
  'GET /v1/job-runs/{uuid}',
  'GET /v1/job-runs/{uuid}/logs',
  'POST /v1/job-runs/{uuid}/exec',
  'GET /v1/job-runs/{uuid}/files',
  'PUT /v1/job-runs/{uuid}/files',
  'POST /v1/nodes',
  'GET /v1/nodes',
  'GET /v1/nodes/{uuid}',
  'POST /v1/api-keys',
  'GET /v1/api-keys',
  'DELETE /v1/api-keys/{uuid}',
];
