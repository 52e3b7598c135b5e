// Shows a changing line: redrawn in place on a terminal, now and then as a plain line elsewhere.
import type { PullProgress } from '../protocol/job-run.ts';
import type { Io } from './io.ts';
import { pullBar, pullLine } from './pull-progress.ts';
import { truncate } from './text-width.ts';

const plainEveryMs = 10_000;

export interface ProgressPrinter {
  show(progress: PullProgress): void;
  /** Before anything else is printed, so that it does not end up behind the bar. */
  clear(): void;
}

export function createProgressPrinter({ stderr, nowMs }: Io): ProgressPrinter {
  let isDrawn = false;
  let printedMs = Number.NEGATIVE_INFINITY;
  let printedStage = '';
  return {
    show(progress) {
      // A total that is known at last is news, as another phase is.
      const stage = `${progress.phase} ${progress.total_bytes !== null}`;
      if (stderr.isTTY) {
        stderr.write(`\r${truncate(pullBar(progress), (stderr.columns || 80) - 1)}\u001b[K`);
        isDrawn = true;
      } else if (stage !== printedStage || nowMs() - printedMs >= plainEveryMs) {
        stderr.write(`${pullLine(progress)}\n`);
        printedMs = nowMs();
        printedStage = stage;
      }
    },
    clear() {
      if (isDrawn) stderr.write('\r\u001b[K');
      isDrawn = false;
    },
  };
}
