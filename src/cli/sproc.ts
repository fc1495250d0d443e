// flux sproc: processes that run beside jobs, mostly in the background (flux exec --bg): what a subprocess server (RFC 42) has,
// by default rexec of our broker.
import {
  endOfSubprocess, killSubprocess, listSubprocesses, type SubprocessEnd, type SubprocessInfo, type SubprocessName,
} from "../client/subprocess.ts";
import { decodeIo } from "../formats/stdio.ts";
import { parseSignal } from "../formats/signal.ts";
import { shellExitCode } from "../formats/waitstatus.ts";
import { errno, FluxError, isErrno } from "../message/errno.ts";
import { defineCommand, exactArguments, flag, text, value, valueOr } from "./command.ts";
import { explain, withFlux } from "./connect.ts";
import { integer } from "./options.ts";
import { printError, write, writeError } from "./output.ts";
import { type Fields, parseTable, printTable } from "./table.ts";

const FORMAT = "{pid:>9} {state:<2} {label:<12} {cmd}";

const HEADINGS: Readonly<Record<string, string>> = { pid: "PID", state: "ST", label: "LABEL", rank: "RANK", cmd: "COMMAND" };

const FIELDS: Fields<SubprocessInfo> = {
  heading: (name) => (Object.hasOwn(HEADINGS, name) ? HEADINGS[name] : undefined),
  value: (info, name) => info[name as keyof SubprocessInfo],
};

const SERVER = {
  rank: value("-r, --rank RANK", "the broker (default: ours)", integer()),
  service: valueOr("-s, --service NAME", "the service that has the process (default: rexec)", String, "rexec"),
} as const;

const ps = defineCommand({
  name: "ps",
  style: "argparse",
  summary: "list processes",
  usage: "[-r RANK] [-s NAME] [-n] [-o FORMAT]",
  details: "List processes of a subprocess server: R is one that runs, Z one that has ended and that nobody has waited for.",
  options: {
    ...SERVER,
    noHeader: flag("-n, --no-header", "no line of titles"),
    format: text("-o, --format FORMAT", `fields pid, state, label, rank and cmd (default: '${FORMAT}')`),
  },
  run({ options }) {
    const format = parseTable(options.format ?? FORMAT, FIELDS);
    return withFlux(async (h) => {
      const found = await explain("ps", listSubprocesses(h, options), true);
      const rows = found.map((info) => ({ ...info, label: info.label === "" ? "-" : info.label }));
      printTable(format, rows, FIELDS, { header: !options.noHeader });
      return 0;
    });
  },
});

const kill = defineCommand({
  name: "kill",
  style: "argparse",
  summary: "signal a process",
  usage: "[-r RANK] [-s NAME] [-w] SIGNUM PID|LABEL",
  details: "Send a signal to a process, by its process id or label.\n\nExample:\n  flux sproc kill 15 my-process",
  options: { ...SERVER, wait: flag("-w, --wait", "wait for its end, and exit as it does") },
  run({ options, args }) {
    const [signal, who] = exactArguments(args, ["SIGNUM", "PID|LABEL"], "flux sproc kill", "[-r RANK] [-s NAME] [-w] SIGNUM PID|LABEL");
    const name = nameOf(who);
    const signum = signalOf(signal);
    return withFlux(async (h) => {
      // Asked for before the signal, or a process that isn't waitable would be gone unnoticed.
      const end = options.wait ? endOfSubprocess(h, name, options) : undefined;
      end?.catch(() => undefined); // looked at below
      try {
        await killSubprocess(h, name, signum, options);
      } catch (err) {
        if (!(err instanceof FluxError)) throw err;
        printError(`flux-sproc: ERROR: kill: ${err.message}`);
        // It may have ended before the signal came.
        if (end === undefined || !isErrno(err, errno.ESRCH)) return 1;
      }
      return end === undefined ? 0 : shellExitCode((await explain("kill: wait failed", end, true)).status);
    });
  },
});

const wait = defineCommand({
  name: "wait",
  style: "argparse",
  summary: "wait for the end of a process",
  usage: "[-r RANK] [-s NAME] [-o] PID|LABEL",
  details: "Wait for a process that was started with 'flux exec --bg --waitable', and exit as it does.",
  options: { ...SERVER, output: flag("-o, --output", "print what the server has kept of its output: the last 8 KB") },
  run({ options, args }) {
    const [who] = exactArguments(args, ["PID|LABEL"], "flux sproc wait", "[-r RANK] [-s NAME] [-o] PID|LABEL");
    return withFlux(async (h) => {
      const { status, output } = await explain("wait", endOfSubprocess(h, nameOf(who), options), true);
      if (options.output) for (const io of output) printIo(io);
      return shellExitCode(status);
    });
  },
});

function printIo(io: SubprocessEnd["output"][number]): void {
  const { stream, data } = decodeIo(io);
  if (data !== undefined) (stream === "stdout" ? write : writeError)(data);
}

/** A number is a process id, anything else a label. */
function nameOf(word: string): SubprocessName {
  return /^\s*[+-]?\d+\s*$/.test(word) ? Number(word) : word;
}

function signalOf(word: string): number {
  // Signal 0 asks whether the process is there.
  return word === "0" ? 0 : parseSignal(word);
}

export default defineCommand({
  name: "sproc",
  style: "argparse",
  summary: "list, signal and wait for processes in the background",
  details: "List, signal and wait for processes that 'flux exec --bg' and others have started.\n\nExample:\n  flux sproc ps",
  subcommands: [ps, kill, wait],
});
