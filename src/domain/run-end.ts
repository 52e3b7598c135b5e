// How a run ended, told as a status and a sentence that a user understands.

/** What the agent saw of the end; `error` is set when the container never ran or could not go on. */
export interface RunEnd {
  exitCode: number | null;
  exitSignal: string | null;
  isOomKilled: boolean;
  endedAtMs: number;
  error: { code: string; message: string } | null;
  lastLogLines: string;
}

export type ToldEnd = { detail: Record<string, unknown> } & (
  | { status: 'COMPLETED'; text: null }
  | { status: 'FAILED'; text: string }
);

/** Exit code 0 is COMPLETED; anything else FAILED, with the last log lines under the sentence. */
export function endOf(end: RunEnd): ToldEnd {
  const detail = {
    code: codeOf(end),
    exit_code: end.exitCode,
    exit_signal: end.exitSignal,
    is_oom_killed: end.isOomKilled,
  };
  if (end.error === null && end.exitCode === 0) return { status: 'COMPLETED', text: null, detail };
  const lines = end.lastLogLines.trimEnd();
  const text = lines === '' ? sentenceOf(end) : `${sentenceOf(end)}\nLast log lines:\n${lines}`;
  return { status: 'FAILED', text, detail };
}

function codeOf(end: RunEnd): string {
  if (end.error !== null) return end.error.code;
  if (end.isOomKilled) return 'out_of_memory';
  return end.exitCode === 0 ? 'completed' : 'exited';
}

function sentenceOf(end: RunEnd): string {
  if (end.error !== null) return end.error.message;
  if (end.isOomKilled) {
    return `The container ran out of memory and was killed (exit code ${end.exitCode}); ask for more with min_ram_gb.`;
  }
  if (end.exitSignal !== null)
    return `The container was ended by ${end.exitSignal} (exit code ${end.exitCode}).`;
  return `The container exited with code ${end.exitCode}.`;
}
