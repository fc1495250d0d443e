// The "service" service: a module or client of this broker takes or gives up a service name.
//
//   service.add    { service }    EEXIST when it is taken
//   service.remove { service }    ENOENT when the sender doesn't have it
//
// Users other than the owner may only register names that begin with their user id and a dash, as job shells do.
import type { Flux } from "../../client/flux.ts";
import type { Request } from "../../client/request.ts";
import { allowUser } from "../../client/service.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { str } from "../../message/unpack.ts";
import type { Router } from "../router.ts";
import { localEndpoint } from "./local-endpoint.ts";

const NAME_MAX_LENGTH = 256;

export async function serveService(h: Flux, router: Router): Promise<void> {
  await h.serve("service", {
    add: allowUser((req) => router.addService(serviceName(req), localEndpoint(req))),
    remove: allowUser((req) => router.removeService(serviceName(req), localEndpoint(req))),
  });
}

function serviceName(req: Request): string {
  const { service } = req.unpack({ service: str });
  if (service === "" || service.includes(".") || service.length > NAME_MAX_LENGTH) {
    throw new FluxError(errno.EINVAL, `'${service}' is not a service name`);
  }
  if (!req.isOwner && !service.startsWith(`${req.userid}-`)) {
    throw new FluxError(errno.EPERM, `only the instance owner may register service '${service}'`);
  }
  return service;
}
