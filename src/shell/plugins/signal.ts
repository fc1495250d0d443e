// signal: warns the job before its time is up. Option: signal number, or {signum, timeleft}; default SIGUSR1 and 60 s.
import { parseDuration } from "../../formats/fsd.ts";
import { isJsonObject, type Json } from "../../formats/json.ts";
import { signalName } from "../../formats/signal.ts";
import { toFluxError } from "../../message/errno.ts";
import type { Timer } from "../../os/clock.ts";
import { LOG } from "../log.ts";
import type { Plugin } from "../plugin.ts";
import { type Shell, ShellExit } from "../shell.ts";

const SIGUSR1 = 10;
const TIMELEFT_S = 60;

export function signalPlugin(): Plugin {
  let wanted: { signum: number; timeleft_s: number } | undefined;
  let timer: Timer | undefined;
  const arm = (shell: Shell, expiration: number): void => {
    const { clock } = shell.host;
    clock.clear(timer);
    timer = undefined;
    if (wanted === undefined) return;
    const { signum, timeleft_s } = wanted;
    if (expiration === 0) return shell.log(LOG.notice, `job has no expiration, ${signalName(signum)} will not be sent`, "signal");
    const delay_s = Math.max(0, expiration - timeleft_s - clock.now_s());
    shell.log(LOG.debug, `Will send ${signalName(signum)} to job in ${delay_s.toFixed(2)}s`, "signal");
    timer = clock.setTimer(delay_s * 1000, () => {
      shell.log(LOG.notice, `job will expire in ${timeleft_s.toFixed(1)}s, sending ${signalName(signum)} to job`, "signal");
      shell.h.rpc("job-manager.kill", { id: shell.job.id, signum }).catch((err: unknown) => {
        shell.log(LOG.error, `failed to send ${signalName(signum)} to job: ${toFluxError(err).message}`, "signal");
      });
    });
  };
  return {
    name: "signal",
    init(shell) {
      if (!shell.isLeader) return;
      wanted = parse(shell.option("signal"));
      if (wanted !== undefined) arm(shell, shell.job.expiration);
    },
    expiration(shell, expiration) {
      if (shell.isLeader) arm(shell, expiration);
    },
    exit: (shell) => shell.host.clock.clear(timer),
  };
}

function parse(option: Json | undefined): { signum: number; timeleft_s: number } | undefined {
  if (option === undefined || option === 0) return undefined;
  if (typeof option === "number") return { signum: SIGUSR1, timeleft_s: TIMELEFT_S };
  if (!isJsonObject(option)) throw new ShellExit(1, "error in shell `signal' option: Expected object or number");
  const { signum, timeleft } = option;
  const timeleft_s = typeof timeleft === "number" ? timeleft : typeof timeleft === "string" ? seconds(timeleft) : TIMELEFT_S;
  return { signum: typeof signum === "number" ? signum : SIGUSR1, timeleft_s };
}

function seconds(text: string): number {
  try {
    return parseDuration(text);
  } catch {
    throw new ShellExit(1, `signal.timeleft=${text} is invalid`);
  }
}
