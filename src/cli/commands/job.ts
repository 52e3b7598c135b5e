// `flotilla job`: submit, list, get, logs, stats, exec, cp, stop, renew, receipt, wait.
import type { Command } from 'commander';
import type { Cli } from '../cli.ts';
import { addJobCp } from './job-cp.ts';
import { addJobExec } from './job-exec.ts';
import { addJobGet } from './job-get.ts';
import { addJobList } from './job-list.ts';
import { addJobLogs } from './job-logs.ts';
import { addJobReceipt } from './job-receipt.ts';
import { addJobRenew } from './job-renew.ts';
import { addJobStats } from './job-stats.ts';
import { addJobStop } from './job-stop.ts';
import { addJobSubmit } from './job-submit.ts';
import { addJobWait } from './job-wait.ts';

const help = `
A job is named by its uuid, or by the start of it where that is unique among the newest 200 jobs.
A shell in a running job: flotilla job exec UUID; its files: flotilla job cp UUID:/results .`;

export function addJobCommands(program: Command, cli: Cli) {
  const job = program
    .command('job')
    .summary('jobs: submit, follow, stop')
    .description('Submits, shows, follows and stops jobs.')
    .addHelpText('after', help);
  addJobSubmit(job, cli);
  addJobList(job, cli);
  addJobGet(job, cli);
  addJobLogs(job, cli);
  addJobStats(job, cli);
  addJobExec(job, cli);
  addJobCp(job, cli);
  addJobStop(job, cli);
  addJobRenew(job, cli);
  addJobReceipt(job, cli);
  addJobWait(job, cli);
}
