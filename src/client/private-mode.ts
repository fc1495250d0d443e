// Private mode ([access] private-mode): users who are neither the owner nor administrators learn nothing of the jobs of
// others, also not how many there are.
import { isJsonObject, type JsonObject } from "../formats/json.ts";
import { errno, FluxError } from "../message/errno.ts";
import type { Request } from "./request.ts";

export class PrivateMode {
  #on = false;

  /** Throws FluxError EINVAL. */
  configure(config: JsonObject): void {
    const { access } = config;
    const value = isJsonObject(access) ? (access["private-mode"] ?? false) : false;
    if (typeof value !== "boolean") throw new FluxError(errno.EINVAL, "error reading [access] config: private-mode must be true or false");
    this.#on = value;
  }

  /** The sender may know of own jobs only. */
  restricts(request: Request): boolean {
    return this.#on && !request.isPrivileged;
  }

  /** Throws FluxError EPERM where what the request asks for would tell of the jobs of others. */
  check(request: Request): void {
    if (this.restricts(request)) throw new FluxError(errno.EPERM);
  }
}
