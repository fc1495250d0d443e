// Becoming another program (execve(2)): the process keeps its id, parent, terminal, directory, and all open descriptors that are not
// closed on exec, which ours are. Signals that were ignored stay so.
import { constants } from "node:os";
import { ptr } from "bun:ffi";

import { errno, FluxError, strerror } from "../message/errno.ts";
import { cstring, lastErrno, libc } from "./libc.ts";
import { launchNofile, withSoftLimits } from "./limits.ts";
import { prepareProgram } from "./spawn.ts";

const SHELL = "/bin/sh";
const SIG_DFL = 0n;
/** Programs expect to be ended by them. */
const IGNORED_BY_RUNTIME = [constants.signals.SIGPIPE, constants.signals.SIGXFSZ];

/**
 * Runs a program in the place of this one; what isn't written by now is lost. Returns only by throwing FluxError as spawnProcess
 * does. A program without a slash is looked up in the PATH of `env`.
 */
export function becomeProgram(argv: readonly string[], env: Readonly<Record<string, string | undefined>> = process.env): never {
  const program = prepareProgram(argv, env);
  const words = Object.entries(program.env).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]));
  const run = (path: string, args: readonly string[]): number => {
    const file = cstring(path);
    const [args_list, args_kept] = stringArray(args);
    const [env_list, env_kept] = stringArray(words);
    libc().execve(ptr(file), ptr(args_list), ptr(env_list));
    const number = lastErrno();
    // The addresses in the lists don't keep the strings alive, but this does.
    return args_kept.length + env_kept.length > 0 ? number : errno.EINVAL;
  };
  const number = withSoftLimits([["nofile", launchNofile()]], () => {
    for (const signal of IGNORED_BY_RUNTIME) libc().signal(signal, SIG_DFL);
    const failure = run(program.path, program.argv);
    return failure === errno.ENOEXEC ? run(SHELL, [SHELL, program.path, ...program.argv.slice(1)]) : failure;
  });
  throw new FluxError(number, `${argv[0]}: ${strerror(number)}`);
}

/** A C array of C strings that ends in a null pointer, and the strings, which must live as long. */
function stringArray(words: readonly string[]): [array: BigUint64Array, strings: readonly Uint8Array[]] {
  const strings = words.map(cstring);
  return [new BigUint64Array([...strings.map((bytes) => BigInt(ptr(bytes))), 0n]), strings];
}
