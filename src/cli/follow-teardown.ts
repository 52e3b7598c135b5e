// Follows the teardown of a stopped job by its receipt, and says each step of the stop ladder as it comes.
import type { Receipt } from '../protocol/receipt.ts';
import type { Client } from '../sdk/client.ts';
import { WaitTimeoutError } from './errors.ts';
import { throughRestart } from './follow-job.ts';
import type { Io } from './io.ts';
import { ladderWords, outcomeText } from './receipt-text.ts';
import { onOneLine } from './text-width.ts';

const pauseMs = 100;

/** The receipt once its state is final; throws when `giveUpMs` (epoch) has passed. */
export async function followTeardown(
  following: { client: Client; io: Io; signal: AbortSignal },
  uuid: string,
  { giveUpMs, say }: { giveUpMs: number; say: (text: string) => void },
): Promise<Receipt> {
  const { client, io } = following;
  const said = new Set<string>();
  const sayOnce = (text: string) => {
    if (!said.has(text)) say(text);
    said.add(text);
  };
  for (;;) {
    const receipt = await throughRestart(following, () => client.jobs.receipt(uuid));
    for (const text of ladderWords(receipt).values()) sayOnce(text);
    if (receipt.is_stuck) sayOnce(onOneLine(receipt.summary));
    if (receipt.state !== 'open') {
      sayOnce(outcomeText(receipt));
      return receipt;
    }
    if (io.nowMs() >= giveUpMs) {
      throw new WaitTimeoutError(
        `The container of job ${uuid} is not gone yet; the job is CANCELLED and the teardown goes on by itself.`,
      );
    }
    await io.sleep(pauseMs, following.signal);
  }
}
