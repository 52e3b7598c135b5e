// Bodies of the reference API: what a client may send, and a value that every server of it takes (pages: create, cook, stop).
import type { FieldRow, ReferenceObject } from './field-list.ts';

const createFields: readonly FieldRow[] = [
  ['task?', "'BATCH' | 'PERSISTENT'", 'D create', 'optional: BATCH'],
  ['title?', 'string', 'D create', 'optional; at most 256 characters'],
  ['description?', 'string', 'D create'],
  [
    'max_timeout_run_ms?',
    'number | null',
    'D create',
    'BATCH needs it, ≥ 60000; PERSISTENT takes null or none',
  ],
  ['cpu_count?', 'number', 'D create', 'optional; a floor, 0 is none'],
  ['gpu_count?', 'number', 'D create', 'optional; 0: no GPU'],
  ['gpu_name?', 'string', 'D create', 'matched by words, leniently on vendor and brand'],
  ['gpu_registry_uuid?', 'string', 'D create'],
  ['min_ram_gb?', 'number', 'D create'],
  ['min_storage_gb?', 'number', 'D create'],
  ['min_vram_gb?', 'number', 'D create'],
  ['max_node_count?', 'number', 'D create', 'taken as the maximum it is: one node is used'],
  ['max_retry_count?', 'number', 'D create'],
  ['max_timeout_assign_ms?', 'number', 'D create', '≥ 300000, default 300000, as there; at most 30 days'],
  ['max_timeout_start_ms?', 'number', 'D create', '≥ 120000, default 300000, as there; at most 7 days'],
  ['allowed_region_codes?', 'array', 'D create'],
  ['parameters', 'object', 'D create'],
  ['parameters.type', "'docker'", 'D create'],
  [
    'parameters.parameters.image',
    'string',
    'D create',
    '`image:tag` is split; a tag beside it must be the same',
  ],
  ['parameters.parameters.tag?', 'string', 'D create', 'absent: latest'],
  ['parameters.parameters.host?', 'string', 'D create'],
  ['parameters.parameters.user?', 'string', 'D create'],
  ['parameters.parameters.secret?', 'string', 'D create'],
  ['parameters.parameters.imagesrc?', 'string', 'D create', 'kept and shown, without effect'],
  [
    'parameters.parameters.ports?',
    'array',
    'D create',
    'absent: EXPOSE of the image; 22 always where sshkey is given',
  ],
  ['parameters.parameters.env?', 'object', 'D create'],
  ['parameters.parameters.sshkey?', 'string', 'D create'],
  ['parameters.parameters.allowed_ips?', 'array', 'D create', '[] is anyone'],
  ['parameters.parameters.volumes?', 'array', 'D create'],
  ['parameters.parameters.volumes[].image', 'string', 'D create'],
  ['parameters.parameters.volumes[].tag?', 'string', 'D create'],
  ['parameters.parameters.volumes[].registry?', 'string', 'D create'],
  ['parameters.parameters.volumes[].user?', 'string', 'D create'],
  ['parameters.parameters.volumes[].secret?', 'string', 'D create'],
  ['parameters.parameters.volumes[].mount', 'string', 'D create'],
];

export const createJob: ReferenceObject = {
  title: 'Body of create',
  at: { route: 'POST /v1/jobs', part: 'body' },
  evidence: [
    'test/http/jobs.test.ts',
    'test/http/validation.test.ts',
    'test/http/budget.test.ts',
    'test/http/scheduler.test.ts',
    'src/api/job-request.test.ts',
  ],
  fields: createFields,
};

/** Older clients send all of it, newer ones neither task nor parameters.type; `{}` is a body too. */
export const cookRecipe: ReferenceObject = {
  title: 'Body of cook',
  at: { route: 'POST /v1/job-recipes/{uuid}/cook', part: 'body', inside: '' },
  evidence: ['test/http/recipes.test.ts'],
  fields: createFields
    .filter(([name]) => !name.includes('[]'))
    .map(([name, type]) => [`${name.replace('?', '')}?`, type, 'D cook'] as const),
};

export const stopJob: ReferenceObject = {
  title: 'Body of Stop Job',
  at: { route: 'PUT /v1/jobs/{uuid}/cancel', part: 'body' },
  evidence: ['test/http/stop.test.ts'],
  fields: [['reason?', 'string', 'D stop', 'at most 1024 characters; an empty body is taken']],
};

/** A plain value of every field of the create body. */
export const createSample = {
  task: 'BATCH',
  title: 'every field',
  description: 'as documented',
  max_timeout_run_ms: 900_000,
  cpu_count: 4,
  gpu_count: 1,
  gpu_name: 'NVIDIA RTX 4090',
  min_ram_gb: 1,
  min_storage_gb: 1,
  min_vram_gb: 1,
  max_node_count: 1,
  max_retry_count: 0,
  max_timeout_assign_ms: 300_000,
  max_timeout_start_ms: 120_000,
  allowed_region_codes: ['us-east-1'],
  parameters: {
    type: 'docker',
    parameters: {
      image: 'busybox',
      tag: 'latest',
      host: '',
      user: '',
      secret: '',
      imagesrc: '',
      ports: [22, 8000],
      env: { A: 'b' },
      sshkey: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB7nMzZ2rCq8Zt7aJLl4q3xV0nYqHn2mC1gq9v0w5b6k me',
      allowed_ips: ['127.0.0.1/32', '0.0.0.0/0'],
      volumes: [{ image: 'files', tag: 'latest', registry: '', user: '', secret: '', mount: '/files' }],
    },
  },
} as const;
