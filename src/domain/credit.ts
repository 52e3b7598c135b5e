// Accounts that pay in advance: when they are warned, and when what they run is stopped. Amounts in micro-dollars.

/** What is known of an account now. */
export interface CreditUse {
  /** Its balance less what its runs cost since they were billed. */
  availableMicros: number;
  /** What its runs cost an hour at present. */
  rateMicros: number;
  /** What a stop of all of them would still be billed at most. */
  graceMicros: number;
}

export type CreditDecision = 'go_on' | 'warn' | 'stop';

/** An account hears of it when its credit does not last for so long. */
export const lowCreditHours = 1;

/** At zero, what the stop itself may cost included, so that nobody ends up owing. */
export function decideCredit({ availableMicros, rateMicros, graceMicros }: CreditUse): CreditDecision {
  if (rateMicros === 0) return 'go_on';
  if (availableMicros <= graceMicros) return 'stop';
  return availableMicros < rateMicros * lowCreditHours ? 'warn' : 'go_on';
}

/** How long the credit lasts at the present rate; null: nothing is running at a cost. */
export function hoursLeft({ availableMicros, rateMicros }: CreditUse): number | null {
  return rateMicros === 0 ? null : Math.max(0, availableMicros / rateMicros);
}
