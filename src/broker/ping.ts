// The answer to a ping: its payload back, with the way it came, as flux-ping(1) shows it.
import type { Request } from "../client/request.ts";
import type { JsonObject } from "../formats/json.ts";

/** Routes are shown by the first eight characters of their ids. */
const SHORT = 8;

export function ping(req: Request, rank: number): JsonObject {
  return {
    ...req.payload,
    route: (req.message.routes ?? []).map((hop) => hop.slice(0, SHORT)).join("!"),
    userid: req.userid,
    rolemask: req.rolemask,
    rank,
  };
}
