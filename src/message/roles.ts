// Who sent a message and what that lets them do (RFC 12): a user id and a mask of roles, stamped by the broker
// at the point where the message enters the instance.
import { errno, FluxError } from "./errno.ts";

/** Role bits (RFC 12). */
export const ROLE_NONE = 0;
export const ROLE_OWNER = 1;
export const ROLE_USER = 2;
export const ROLE_LOCAL = 4;
/** A user whom `[access.roles.admin]` names: sees what users see of others where the rest may not. */
export const ROLE_ADMIN = 8;
export const ROLE_ALL = 0xffffffff;

/** The user id of a message that no broker has stamped yet. */
export const USERID_UNKNOWN = 0xffffffff;

export interface Credentials {
  readonly userid: number;
  readonly rolemask: number;
}

export function isOwner(cred: Credentials): boolean {
  return (cred.rolemask & ROLE_OWNER) !== 0;
}

/** The owner or an administrator: `[access] private-mode` hides nothing from them. */
export function isPrivileged(cred: Credentials): boolean {
  return (cred.rolemask & (ROLE_OWNER | ROLE_ADMIN)) !== 0;
}

/** Throws EPERM unless `cred` is the instance owner's or belongs to `userid`. */
export function requireOwnerOrUser(cred: Credentials, userid: number): void {
  if (isOwner(cred)) return;
  if ((cred.rolemask & ROLE_USER) !== 0 && cred.userid !== USERID_UNKNOWN && cred.userid === userid) return;
  throw new FluxError(errno.EPERM);
}
