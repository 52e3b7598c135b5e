// Why the control plane itself tears a run down: a code for programs, a sentence for people.

export const startTimeoutReason = {
  code: 'start_timeout',
  text: 'The container did not start within max_timeout_start_ms.',
};

export const noPublicPortReason = {
  code: 'no_public_port',
  text: 'No public port was free for the job: all of the gateway are in use or rest after use. Try again later, stop jobs that publish ports, or widen --gateway-ports.',
};

export const runTimeoutReason = {
  code: 'run_timeout',
  text: 'The job ran longer than max_timeout_run_ms and was stopped.',
};
