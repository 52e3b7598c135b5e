// Options of the agent, the same for `up` and `node run`.
import type { Command } from 'commander';
import { type IngressFlags, publicHostOf, withIngressOptions } from './gateway-options.ts';
import { collect, durationMs, numberFrom0 } from './options.ts';
import type { AgentSettings } from './roles.ts';

export interface AgentFlags extends IngressFlags {
  dockerSocket?: string;
  allowLan?: true;
  allowRegistry?: string[];
  imageCacheGb?: number;
  stateDir?: string;
  stopWhenCutOff?: number;
}

export function withAgentOptions(command: Command): Command {
  command
    .optionsGroup('Node:')
    .option('--docker-socket <path>', 'Docker Engine to use (default: DOCKER_HOST, then the usual sockets)')
    .option('--allow-lan', 'let runs reach private networks; other runs, this host and metadata stay closed')
    .option(
      '--allow-registry <host>',
      'registry on a private address that jobs may name: host, host:port or CIDR (repeatable)',
      collect,
    )
    .option(
      '--image-cache-gb <gb>',
      "most that images pulled for jobs may take (default: a fifth of the engine's disk)",
      numberFrom0,
    )
    .option(
      '--stop-when-cut-off <duration>',
      'stop the runs after this time without the server; they fail as cut_off (default: they go on)',
      durationMs,
    )
    .option(
      '--state-dir <folder>',
      'where the agent remembers images, GPUs and its cluster (default: in the data directory)',
    );
  return withIngressOptions(command);
}

export function agentSettings(flags: AgentFlags): AgentSettings {
  return {
    dockerSocket: flags.dockerSocket ?? null,
    isLanAllowed: flags.allowLan ?? false,
    allowedRegistries: flags.allowRegistry ?? [],
    imageCacheBytes: flags.imageCacheGb === undefined ? null : flags.imageCacheGb * 1e9,
    stateDirectory: flags.stateDir ?? null,
    publicHost: publicHostOf(flags),
    stopWhenCutOffMs: flags.stopWhenCutOff ?? null,
  };
}
