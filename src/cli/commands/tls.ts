// `flotilla tls`: a certificate for trying TLS without an authority.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { Cli } from '../cli.ts';
import { refuseExisting } from '../key-file.ts';
import { collect, integerFrom1 } from '../options.ts';
import { printLines } from '../output.ts';
import { makeSelfSigned } from '../self-signed.ts';

const defaultDays = 365;

export function addTlsCommands(program: Command, cli: Cli) {
  const tls = program
    .command('tls')
    .summary('certificates')
    .description('Makes certificates for trying TLS.');
  tls
    .command('self-signed')
    .description('Makes a certificate that signs itself, and its key. Clients must be told to trust it.')
    .requiredOption('--host <name>', 'host name or address it is for (repeatable)', collect)
    .requiredOption('--out <folder>', 'where cert.pem and key.pem are written')
    .option('--days <n>', `how long it is valid (default ${defaultDays})`, integerFrom1)
    .addHelpText(
      'after',
      '\nExample:\n  flotilla tls self-signed --host jobs.example --host 10.0.0.5 --out ./tls\n' +
        '  flotilla server --host 0.0.0.0 --tls-cert tls/cert.pem --tls-key tls/key.pem\n' +
        '  flotilla job list --ca-file tls/cert.pem',
    )
    .action((flags: { host: string[]; out: string; days?: number }) => {
      const life = { nowMs: cli.io.nowMs(), days: flags.days ?? defaultDays };
      const { certPem, keyPem } = makeSelfSigned(flags.host, life);
      mkdirSync(flags.out, { recursive: true });
      const [certFile, keyFile] = [join(flags.out, 'cert.pem'), join(flags.out, 'key.pem')];
      for (const file of [certFile, keyFile]) refuseExisting(existsSync(file), file);
      writeFileSync(keyFile, keyPem, { mode: 0o600, flag: 'wx' });
      writeFileSync(certFile, certPem, { flag: 'wx' });
      printLines(cli.io.stdout, [
        `Wrote ${certFile} and ${keyFile} for ${flags.host.join(', ')}.`,
        `Use them with --tls-cert ${certFile} --tls-key ${keyFile}; clients trust it with --ca-file ${certFile}.`,
      ]);
    });
}
