// The "log" service: lines in, lines out (flux-dmesg(1), flux-logger(1)). Lines travel as plain text (RFC 5424), not JSON.
//
//   log.append    LINE                       usually without an answer
//   log.dmesg     { follow, nobacklog? } → a stream of lines; ends (ENODATA) at the newest unless following
//   log.clear
import type { Flux } from "../../client/flux.ts";
import { DEFERRED } from "../../client/request.ts";
import { bool, def } from "../../message/unpack.ts";
import type { Log } from "../log.ts";

export async function serveLog(h: Flux, log: Log): Promise<void> {
  await h.serve("log", {
    append: (req) => log.append(req.message.text ?? ""),
    clear: () => log.clear(),
    dmesg: (req) => {
      const { follow, nobacklog } = req.unpack({ follow: bool, nobacklog: def(bool, false) });
      req.requireStreaming();
      const send = (line: string): void => req.respond(Buffer.from(`${line}\0`));
      if (!nobacklog) for (const line of log.entries()) send(line);
      if (!follow) {
        req.finish();
        return DEFERRED;
      }
      req.onCancel(log.follow(send));
      return DEFERRED;
    },
    "stats-get": () => log.stats(),
  });
}
