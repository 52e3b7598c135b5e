// The jobs that benchmarks submit.
import { encodeBody } from '../../src/sdk/sign.ts';

/** A small BATCH job with one environment value, so that sealing secrets is part of what is measured. */
export function noopJobBody(): string {
  return encodeBody({
    task: 'BATCH',
    title: 'no-op',
    max_timeout_run_ms: 600_000,
    max_timeout_assign_ms: 3_600_000,
    parameters: {
      type: 'docker',
      parameters: { image: 'busybox', tag: 'latest', command: ['true'], env: { PURPOSE: 'benchmark' } },
    },
  });
}
