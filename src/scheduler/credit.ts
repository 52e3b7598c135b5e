// Accounts that pay in advance: warned when their credit runs low, stopped at zero, and not placed without any.
import {
  listCostingJobs,
  listPrepaidAccounts,
  listUnpaidJobs,
  noteLowCredit,
  type PrepaidAccount,
  readPrepaid,
} from '../db/credit.ts';
import { decideCredit, hoursLeft } from '../domain/credit.ts';
import { type BudgetDeps, stopForMoney } from './budget.ts';

export const noCredit = {
  code: 'insufficient_credit',
  text: 'insufficient_credit: the account pays in advance and has nothing left; ask an admin for credits.',
};

export class CreditWatch {
  readonly #deps: BudgetDeps;
  readonly #actor: Record<string, unknown>;
  /** null: not known yet. */
  #isNeeded: boolean | null = null;

  constructor(deps: BudgetDeps, actor: Record<string, unknown>) {
    this.#deps = deps;
    this.#actor = actor;
  }

  /** One look at all accounts that pay in advance; one query where there is none. */
  async review(): Promise<void> {
    const { database } = this.#deps;
    const { isDefault, exceptions } = await readPrepaid(database);
    this.#isNeeded = isDefault || exceptions.size > 0;
    if (!this.#isNeeded) return;
    for (const account of await listPrepaidAccounts(database)) await this.#judge(account);
  }

  /** Stops those that would be placed without credit; answers them. Costs nothing while nobody pays in advance. */
  async refuseUnpaid(jobIds: readonly string[]): Promise<Set<string>> {
    if (this.#isNeeded === null) await this.review();
    if (this.#isNeeded !== true || jobIds.length === 0) return new Set();
    const unpaid = await listUnpaidJobs(this.#deps.database, jobIds);
    await this.#stop(unpaid);
    return new Set(unpaid.map(({ id }) => id));
  }

  async #judge({ id: accountId, use, isWarned }: PrepaidAccount): Promise<void> {
    const { database } = this.#deps;
    const decision = decideCredit(use);
    const detail = {
      code: 'low_credit',
      available_usd: use.availableMicros / 1e6,
      hourly_rate_usd: use.rateMicros / 1e6,
      hours_left: hoursLeft(use),
    };
    if (decision !== 'go_on' && !isWarned)
      await noteLowCredit(database, { accountId, detail, actor: this.#actor });
    if (decision === 'go_on' && isWarned)
      await noteLowCredit(database, { accountId, detail: null, actor: this.#actor });
    if (decision === 'stop') await this.#stop(await listCostingJobs(database, accountId));
  }

  async #stop(jobs: readonly { id: string; accountId: string }[]): Promise<void> {
    for (const job of jobs) await stopForMoney(this.#deps, { job, why: noCredit, actor: this.#actor });
  }
}
