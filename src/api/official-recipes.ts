// The recipes that come with Flotilla: each cooks with `{}`. Images are public; their sources stand beside them.
import type { Database } from '../db/database.ts';
import { type NewRecipe, storeOfficialRecipes } from '../db/recipes.ts';
import { oneAtATime } from '../db/start-lock.ts';
import type { Vault } from '../db/vault.ts';

type Official = Omit<NewRecipe, 'accountId' | 'visibility' | 'forkedFrom'>;

const hourMs = 3_600_000;
const sshKey = {
  key: 'ssh_key',
  type: 'ssh_key',
  label: 'SSH public key',
  required: false,
  description: 'who may log in; without it there is no SSH',
  placeholder: 'ssh-ed25519 AAAA… you@example.com',
} as const;
/** Large images take minutes; the start waits while bytes move. */
const patience = { max_timeout_start_ms: hourMs / 2, start_timeout_waits_for_pull: true };

export const officialRecipes: readonly Official[] = [
  {
    id: '01a0114e-e7f8-4e76-a07a-f09fca41e2be',
    name: 'llama.cpp server',
    description: 'An OpenAI-compatible server for GGUF models on one GPU, behind an access token.',
    // Source: the network's own image of this recipe, with the server behind nginx on port 5000.
    payload: {
      title: 'llama.cpp server',
      task: 'PERSISTENT',
      gpu_count: 1,
      min_vram_gb: '${min_vram_gb}',
      min_ram_gb: 8,
      min_storage_gb: 40,
      ...patience,
      parameters: {
        type: 'docker',
        parameters: {
          image: 'dispersednetwork/llama.cpp_accesstoken_preload',
          tag: 'latest',
          ports: [22, 5000],
          sshkey: '${ssh_key}',
          env: {
            LLAMA_ARG_HF_REPO: '${model}',
            LLAMA_ARG_CTX_SIZE: '${context_size}',
            LLAMA_ARG_N_GPU_LAYERS: '999',
          },
        },
      },
    },
    inputSchema: [
      {
        key: 'model',
        type: 'text',
        label: 'Model',
        required: true,
        description: 'a GGUF repository of Hugging Face, with the quantisation after the colon',
        default_value: 'ggml-org/gemma-3-4b-it-GGUF:Q4_K_M',
      },
      { key: 'context_size', type: 'number', label: 'Context', required: true, default_value: 8192 },
      { key: 'min_vram_gb', type: 'number', label: 'VRAM in GB', required: true, default_value: 8 },
      sshKey,
    ],
    quickstartMd:
      'Open the job’s `endpoint_url`; user `duser`, password: the token in `container_access_tokens`.\n\n```\ncurl -u duser:TOKEN ENDPOINT/v1/models\n```\n',
    thumbnailUrl: null,
  },
  {
    id: '01a20000-0001-7000-8000-000000000001',
    name: 'SSH box',
    description: 'A Linux machine with SSH, with or without a GPU.',
    // Source: the network's public base image: sshd for user duser with the key in SSH_PUBKEY.
    payload: {
      title: 'SSH box',
      task: 'PERSISTENT',
      cpu_count: '${cpus}',
      gpu_count: '${gpus}',
      min_ram_gb: 2,
      min_storage_gb: 10,
      ...patience,
      parameters: {
        type: 'docker',
        parameters: { image: 'otoy/dispersed-base', tag: 'latest', ports: [22], sshkey: '${ssh_key}' },
      },
    },
    inputSchema: [
      sshKey,
      { key: 'cpus', type: 'number', label: 'CPUs', required: true, default_value: 1 },
      { key: 'gpus', type: 'number', label: 'GPUs', required: true, default_value: 0 },
    ],
    quickstartMd:
      'Give your public key, then `ssh -p PORT duser@HOST` with host and port of the job’s `node_urls`.\n',
    thumbnailUrl: null,
  },
  {
    id: '01a20000-0002-7000-8000-000000000002',
    name: 'JupyterLab',
    description: 'Notebooks for science in the browser, behind an access token.',
    // Source: Jupyter Docker Stacks, quay.io/jupyter.
    payload: {
      title: 'JupyterLab',
      task: 'PERSISTENT',
      cpu_count: 2,
      gpu_count: '${gpus}',
      min_ram_gb: 4,
      min_storage_gb: 20,
      ...patience,
      parameters: {
        type: 'docker',
        parameters: {
          image: 'quay.io/jupyter/scipy-notebook',
          tag: 'latest',
          ports: [8888],
          command: [
            'sh',
            '-c',
            'exec start-notebook.py --ServerApp.ip=0.0.0.0 --IdentityProvider.token="$CONTAINER_ACCESS_TOKEN"',
          ],
        },
      },
    },
    inputSchema: [{ key: 'gpus', type: 'number', label: 'GPUs', required: true, default_value: 0 }],
    quickstartMd: 'Open `endpoint_url` + `/lab?token=TOKEN` with the token in `container_access_tokens`.\n',
    thumbnailUrl: null,
  },
  {
    id: '01a20000-0003-7000-8000-000000000003',
    name: 'ComfyUI',
    description:
      'Node-based image generation on one GPU. It has no sign-in of its own: allow your address alone.',
    // Source: github.com/YanWenKun/ComfyUI-Docker.
    payload: {
      title: 'ComfyUI',
      task: 'PERSISTENT',
      gpu_count: 1,
      min_vram_gb: 12,
      min_ram_gb: 16,
      min_storage_gb: 60,
      ...patience,
      parameters: {
        type: 'docker',
        parameters: {
          image: 'yanwk/comfyui-boot',
          tag: 'cu128-slim',
          ports: [8188],
          allowed_ips: ['${allowed_ip}'],
          env: { CLI_ARGS: '${arguments}' },
        },
      },
    },
    inputSchema: [
      {
        key: 'allowed_ip',
        type: 'text',
        label: 'Your address',
        required: true,
        description:
          'an address or range (CIDR) that may connect; the default lets in nobody but this machine',
        default_value: '127.0.0.1',
      },
      { key: 'arguments', type: 'text', label: 'Arguments', description: 'of ComfyUI', default_value: '' },
    ],
    quickstartMd: 'Open `endpoint_url` in a browser once the job is RUNNING and its port is ready.\n',
    thumbnailUrl: null,
  },
  {
    id: '01a20000-0004-7000-8000-000000000004',
    name: 'PyTorch batch',
    description: 'One Python program with PyTorch and CUDA, run to its end.',
    // Source: hub.docker.com/r/pytorch/pytorch.
    payload: {
      title: 'PyTorch batch',
      task: 'BATCH',
      gpu_count: '${gpus}',
      min_vram_gb: 0,
      min_ram_gb: 8,
      min_storage_gb: 30,
      max_timeout_run_ms: hourMs,
      ...patience,
      parameters: {
        type: 'docker',
        parameters: {
          image: 'pytorch/pytorch',
          tag: '2.7.1-cuda12.8-cudnn9-runtime',
          ports: [],
          command: ['python', '-c', '${program}'],
        },
      },
    },
    inputSchema: [
      {
        key: 'program',
        type: 'text',
        label: 'Program',
        required: true,
        default_value:
          'import torch; print(torch.__version__, torch.cuda.is_available(), torch.cuda.device_count())',
      },
      { key: 'gpus', type: 'number', label: 'GPUs', required: true, default_value: 1 },
    ],
    quickstartMd: 'The output is the job’s log: `flotilla job logs JOB --follow`.\n',
    thumbnailUrl: null,
  },
];

/** Once at the start of a server; replicas that start together wait for each other's rows. */
export async function shipOfficialRecipes(database: Database, vault: Vault): Promise<void> {
  await oneAtATime(database, (sql) => storeOfficialRecipes(sql, vault, officialRecipes));
}
