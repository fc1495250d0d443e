// The "state-machine" service: what the broker is doing (flux-uptime(1)), and a way to wait for a state.
//
//   state-machine.get     → { state, duration }
//   state-machine.wait    answered when the state is run; ENOENT when it is past that
//   state-machine.sd-notify { status }      what rc1 and rc3 are doing, for systemd
//   state-machine.monitor { final? } → { state }, as a stream each change up to state number `final`
import type { Flux } from "../../client/flux.ts";
import { DEFERRED, type Request } from "../../client/request.ts";
import { allowUser } from "../../client/service.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { int, opt, str } from "../../message/unpack.ts";
import type { Systemd } from "../systemd.ts";
import { type State, type StateMachine, stateNumber, STATES } from "../state-machine.ts";

export interface StateMachineService {
  /** The state has changed: tell those who wait. */
  changed(): void;
}

export async function serveStateMachine(h: Flux, machine: StateMachine, systemd: Systemd): Promise<StateMachineService> {
  const waiting = new Set<Request>();
  const monitors = new Map<Request, number>();

  /** True when the request is answered. */
  const answerWait = (req: Request): boolean => {
    const at = stateNumber(machine.state);
    if (at < stateNumber("run")) return false;
    if (machine.state === "run") req.respond();
    else req.fail(new FluxError(errno.ENOENT, "broker has surpassed RUN state"));
    return true;
  };

  /** True when the request wants no more. */
  const answerMonitor = (req: Request, final: number): boolean => {
    const at = stateNumber(machine.state);
    if (at <= final) req.respond({ state: at });
    if (req.isOpen && at >= final) req.finish();
    return !req.isOpen;
  };

  await h.serve("state-machine", {
    get: allowUser(() => ({ state: machine.state satisfies State, duration: machine.elapsed_ms / 1000 })),
    wait: allowUser((req) => {
      if (answerWait(req)) return DEFERRED;
      waiting.add(req);
      req.onCancel(() => waiting.delete(req));
      return DEFERRED;
    }),
    "sd-notify": (req) => systemd.progress(req.unpack({ status: opt(str) }).status),
    monitor: (req) => {
      const final = req.unpack({ final: opt(int) }).final ?? STATES.length - 1;
      if (answerMonitor(req, final)) return DEFERRED;
      monitors.set(req, final);
      req.onCancel(() => monitors.delete(req));
      return DEFERRED;
    },
  });
  return {
    changed() {
      for (const req of waiting) if (answerWait(req)) waiting.delete(req);
      for (const [req, final] of monitors) if (answerMonitor(req, final)) monitors.delete(req);
    },
  };
}
