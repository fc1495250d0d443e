// rexec: runs programs for the instance owner on any broker (RFC 42; client/subprocess-server.ts): `flux exec`, prologs, tools.
import { defineModule } from "../../client/module.ts";
import type { Request } from "../../client/request.ts";
import { subprocessServer } from "../../client/subprocess-server.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { ROLE_LOCAL } from "../../message/roles.ts";

/** At the module's end: from SIGTERM to SIGKILL. */
const STOP_MS = 5000;

export default defineModule({
  name: "rexec",
  async start(h, { rank, clock }) {
    const uri = (await h.optionalAttr("local-uri")) ?? "";
    const admit = (request: Request): void => {
      if (rank === 0 && (request.rolemask & ROLE_LOCAL) === 0) throw new FluxError(errno.EPERM, "Remote rexec requests are not allowed on rank 0");
      if (request.payload["signature"] !== undefined) throw new FluxError(errno.EPERM, "flux-security support not available");
    };
    const server = subprocessServer({ h, clock, rank, uri, env: process.env, admit });
    await h.serve("rexec", server.methods);
    return {
      stop: async () => server.stop(STOP_MS),
      stats: () => ({ processes: server.count }),
    };
  },
});
