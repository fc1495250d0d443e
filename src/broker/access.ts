// Access ([access] of the configuration): who may connect besides the owner, and with what roles.
//
//   allow-guest-user, allow-root-owner: bool
//   roles.admin: {users?: [NAME], groups?: [NAME]}   users who get the role ROLE_ADMIN besides ROLE_USER
//
// Names are looked up when somebody connects, so that a change of a group counts from the next connection on. One that
// doesn't exist is logged and gives nothing to anybody.
import { configTable, readTable } from "../client/config-table.ts";
import type { JsonObject } from "../formats/json.ts";
import { errno, FluxError } from "../message/errno.ts";
import { ROLE_ADMIN, ROLE_NONE, ROLE_OWNER, ROLE_USER } from "../message/roles.ts";
import { arr, bool, def, dict, obj, str } from "../message/unpack.ts";
import { currentUserByName, groupMembers, userName } from "../os/passwd.ts";

export interface AccessRules {
  readonly allowGuestUser: boolean;
  readonly allowRootOwner: boolean;
  readonly admins: Members;
}

interface Members {
  readonly users: readonly string[];
  readonly groups: readonly string[];
}

const ROLES = ["admin"];
const KEYS = ["allow-guest-user", "allow-root-owner", "private-mode", "roles"];
const NOBODY: Members = { users: [], groups: [] };

export const OWNER_ONLY: AccessRules = { allowGuestUser: false, allowRootOwner: false, admins: NOBODY };

/** Throws FluxError EINVAL naming what is wrong. */
export function accessRules(config: JsonObject): AccessRules {
  const table = configTable(config, "access");
  for (const name of Object.keys(table)) if (!KEYS.includes(name)) throw new FluxError(errno.EINVAL, `access.${name}: there is no such key; there are ${KEYS.join(", ")}`);
  const { roles, ...access } = readTable(table, "access", { "allow-guest-user": def(bool, false), "allow-root-owner": def(bool, false), roles: def(dict(obj), {}) });
  for (const name of Object.keys(roles)) if (!ROLES.includes(name)) throw new FluxError(errno.EINVAL, `unknown role '${name}' in [access.roles]`);
  return {
    allowGuestUser: access["allow-guest-user"],
    allowRootOwner: access["allow-root-owner"],
    admins: roles["admin"] === undefined ? NOBODY : members("access.roles.admin", roles["admin"]),
  };
}

/** The rules of whatever configuration holds now: read once for each, since many may connect at once. */
export function currentAccess(config: () => JsonObject): () => AccessRules {
  let known: { config: JsonObject; rules: AccessRules } | undefined;
  return () => {
    const now = config();
    if (known?.config !== now) known = { config: now, rules: accessRules(now) };
    return known.rules;
  };
}

function members(where: string, table: JsonObject): Members {
  for (const key of Object.keys(table)) if (!Object.hasOwn(NOBODY, key)) throw new FluxError(errno.EINVAL, `${where}.${key}: there is no such key; there are users and groups`);
  return readTable(table, where, { users: def(arr(str), []), groups: def(arr(str), []) });
}

/** The roles of a user who connects; undefined for one who may not. */
export function rolesOf(uid: number, owner: number, rules: AccessRules, warn: (text: string) => void): number | undefined {
  if (uid === owner || (uid === 0 && rules.allowRootOwner)) return ROLE_OWNER;
  if (!rules.allowGuestUser) return undefined;
  return ROLE_USER | (isMember(uid, rules.admins, warn) ? ROLE_ADMIN : ROLE_NONE);
}

function isMember(uid: number, { users, groups }: Members, warn: (text: string) => void): boolean {
  if (users.some((name) => uidOf(name, warn) === uid)) return true;
  return groups.some((name) => membersOf(name, warn).includes(userName(uid)));
}

function uidOf(name: string, warn: (text: string) => void): number | undefined {
  const user = currentUserByName(name);
  if (user === undefined) warn(`[access.roles] ignoring unknown user '${name}'`);
  return user?.uid;
}

function membersOf(name: string, warn: (text: string) => void): readonly string[] {
  const names = groupMembers(name);
  if (names === undefined) warn(`[access.roles] ignoring unknown group '${name}'`);
  return names ?? [];
}
