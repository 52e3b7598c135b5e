// The program: hands the command line to its commands and the commands their roles.
import { processIo } from './cli/io.ts';
import { runProgram } from './cli/program.ts';
import { roles } from './main/roles.ts';

process.exitCode = await runProgram(process.argv.slice(2), roles, processIo());
