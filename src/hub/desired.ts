// Turns what the control plane wants of a run into the order its agent gets, secrets in clear.
import type { NodeRun } from '../db/job-runs.ts';
import type { DesiredRun } from '../protocol/agent-messages.ts';

export function toDesiredRun(run: NodeRun): DesiredRun {
  const container = run.container();
  const token = run.accessToken();
  return {
    run_uuid: run.runId,
    job_uuid: run.jobId,
    attempt: run.attempt,
    desired: run.desired,
    status: run.status,
    stop:
      run.desired === 'stop'
        ? { grace_ms: run.stopGraceMs ?? 0, requested_ms_ago: run.stopAgeMs ?? 0 }
        : null,
    container: {
      image: container.image,
      tag: container.tag,
      registry_host: container.host,
      registry_user: container.user,
      registry_secret: container.secret,
      env: {
        ...container.env,
        ...(container.sshkey === null ? {} : { SSH_PUBKEY: container.sshkey }),
        ...(token === null ? {} : { CONTAINER_ACCESS_TOKEN: token }),
        FLOTILLA_JOB_UUID: run.jobId,
        FLOTILLA_RUN_UUID: run.runId,
      },
      command: container.command && [...container.command],
      entrypoint: container.entrypoint && [...container.entrypoint],
      stop_signal: container.stopSignal,
      stop_grace_ms: container.stopGraceMs,
      ports: container.ports && [...container.ports],
      has_ssh: container.sshkey !== null,
      volumes: container.volumes.map((volume) => ({ ...volume })),
    },
    cpu_count: run.cpuCount,
    ram_bytes: run.ramBytes,
    storage_bytes: run.storageBytes,
    gpu_uuids: run.gpuUuids,
    container_id: run.containerId,
    log: run.log,
  };
}

/** Equal for two readings of a run that ask the same of its agent. */
export function orderOf(run: NodeRun): string {
  return `${run.attempt} ${run.desired} ${run.stopGraceMs ?? ''}`;
}
