// Mock user: FLUX_HANDLE_USERID and FLUX_HANDLE_ROLEMASK let the instance owner send messages as somebody else, to see what that
// user may do. The broker believes nobody but the owner.
import { errno, FluxError } from "../message/errno.ts";
import { ROLE_NONE, USERID_UNKNOWN } from "../message/roles.ts";
import type { Link } from "./link.ts";

/** The link itself unless the environment names a user or roles. Throws FluxError EINVAL for what is no number. */
export function withMockUser(link: Link, env: Readonly<Record<string, string | undefined>>): Link {
  const userid = number(env, "FLUX_HANDLE_USERID");
  const rolemask = number(env, "FLUX_HANDLE_ROLEMASK");
  if (userid === undefined && rolemask === undefined) return link;
  return {
    start: (receive, closed) => link.start(receive, closed),
    send(message) {
      if (message.userid === USERID_UNKNOWN) message.userid = userid ?? USERID_UNKNOWN;
      if (message.rolemask === ROLE_NONE) message.rolemask = rolemask ?? ROLE_NONE;
      link.send(message);
    },
    get queued_bytes() {
      return link.queued_bytes;
    },
    drained: () => link.drained(),
    close: () => link.close(),
  };
}

/** Decimal, or hexadecimal with 0x, of 32 bits. */
function number(env: Readonly<Record<string, string | undefined>>, name: string): number | undefined {
  const text = env[name] ?? "";
  if (text === "") return undefined;
  const value = /^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : Number.NaN;
  if (!(value <= 0xffff_ffff)) throw new FluxError(errno.EINVAL, `${name}=${text}: expected a number of 32 bits, decimal or 0x…`);
  return value;
}
