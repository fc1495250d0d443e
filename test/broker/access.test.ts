import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { accessRules, currentAccess, OWNER_ONLY, rolesOf } from "../../src/broker/access.ts";
import type { JsonObject } from "../../src/formats/json.ts";
import { ROLE_ADMIN, ROLE_OWNER, ROLE_USER } from "../../src/message/roles.ts";
import { userByName } from "../../src/os/passwd.ts";

const OWNER = 4_000_000_001;
const GUEST = 4_000_000_002;

function roles(uid: number, access: JsonObject, warned: string[] = []): number | undefined {
  return rolesOf(uid, OWNER, accessRules({ access }), (text) => warned.push(text));
}

describe("[access]", () => {
  test("is checked", () => {
    expect(accessRules({})).toEqual(OWNER_ONLY);
    expect(accessRules({ access: { "allow-guest-user": true } })).toEqual({ ...OWNER_ONLY, allowGuestUser: true });
    expect(() => accessRules({ access: { "allow-guest-user": "yes" } })).toThrow("access.allow-guest-user");
    expect(() => accessRules({ access: { "allow-guest-users": true } })).toThrow("access.allow-guest-users: there is no such key");
    expect(() => accessRules({ access: true })).toThrow("access");
    expect(() => accessRules({ access: { roles: { king: {} } } })).toThrow("unknown role 'king' in [access.roles]");
    expect(() => accessRules({ access: { roles: { admin: { user: [] } } } })).toThrow("access.roles.admin.user");
    expect(() => accessRules({ access: { roles: { admin: { users: [1] } } } })).toThrow("access.roles.admin.users");
    expect(() => accessRules({ access: { roles: { admin: { groups: "wheel" } } } })).toThrow("access.roles.admin.groups");
  });

  test("is read again when the configuration has changed", () => {
    let config: JsonObject = {};
    const access = currentAccess(() => config);
    const before = access();
    expect(access()).toBe(before);
    config = { access: { "allow-guest-user": true } };
    expect(access().allowGuestUser).toBe(true);
  });

  test("lets in who may connect", () => {
    expect(roles(OWNER, {})).toBe(ROLE_OWNER);
    expect(roles(GUEST, {})).toBeUndefined();
    expect(roles(GUEST, { "allow-guest-user": true })).toBe(ROLE_USER);
    expect(roles(0, { "allow-guest-user": true })).toBe(ROLE_USER);
    expect(roles(0, { "allow-root-owner": true })).toBe(ROLE_OWNER);
  });

  test("makes administrators of users by name and by group; names that nobody has are said", () => {
    const admin = { "allow-guest-user": true, roles: { admin: { users: ["no-such-user-here", "root"], groups: ["no-such-group-here"] } } };
    const warned: string[] = [];
    expect(roles(0, admin, warned)).toBe(ROLE_USER | ROLE_ADMIN);
    expect(warned).toEqual(["[access.roles] ignoring unknown user 'no-such-user-here'"]);
    expect(roles(GUEST, admin, warned)).toBe(ROLE_USER);
    expect(warned.at(-1)).toBe("[access.roles] ignoring unknown group 'no-such-group-here'");
    expect(roles(OWNER, admin)).toBe(ROLE_OWNER);
    expect(roles(0, { ...admin, "allow-guest-user": false })).toBeUndefined();
    for (const line of readFileSync("/etc/group", "utf8").split("\n")) {
      const [group, , , list] = line.split(":");
      if (group === undefined || list === undefined || list === "") continue;
      const uid = userByName(list.split(",")[0] ?? "")?.uid;
      if (uid !== undefined) expect(roles(uid, { "allow-guest-user": true, roles: { admin: { groups: [group] } } })).toBe(ROLE_USER | ROLE_ADMIN);
    }
  });
});
