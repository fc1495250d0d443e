// The endpoint of a request that must come from this broker's own modules and clients.
import type { Request } from "../../client/request.ts";
import { errno, FluxError } from "../../message/errno.ts";

/** Throws FluxError EPROTO for a request that came through another broker. */
export function localEndpoint(request: Request): string {
  const routes = request.message.routes ?? [];
  if (routes.length !== 1) throw new FluxError(errno.EPROTO, `${request.topic} must be asked of one's own broker`);
  return routes[0] as string;
}
