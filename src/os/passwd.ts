// Users and groups of the system's databases (getpwuid(3), getgrnam(3)): what `flux jobs` prints as USER, and where a
// user's home and shell are.
//
// Answers are kept, because a lookup may ask LDAP, and because a list of jobs asks for the same few users again and again.

import { ptr, read, type Pointer } from "bun:ffi";

import { address, cstring, libc, readCString } from "./libc.ts";

export interface User {
  name: string;
  uid: number;
  gid: number;
  /** Full name and such, as the database has it. */
  gecos: string;
  home: string;
  shell: string;
}

const CACHE_MAX = 1024;
const POINTER_BYTES = 8;

/** Cached by the order of arrival: a full cache loses its oldest entry. Absent users are not kept: they may be added. */
function cached<K, V>(lookup: (key: K) => V | undefined): (key: K) => V | undefined {
  const cache = new Map<K, V>();
  return (key) => {
    const known = cache.get(key);
    if (known !== undefined) return known;
    const found = lookup(key);
    if (found === undefined) return undefined;
    if (cache.size >= CACHE_MAX) {
      for (const oldest of cache.keys()) {
        cache.delete(oldest);
        break;
      }
    }
    cache.set(key, found);
    return found;
  };
}

type Returned = Pointer | bigint | null;

// struct passwd of glibc, 64 bits: name, passwd, uid, gid, gecos, dir, shell.
function userFrom(returned: Returned): User | undefined {
  const entry = address(returned);
  if (entry === undefined) return undefined;
  return {
    name: readCString(entry, 0),
    uid: read.u32(entry, 16),
    gid: read.u32(entry, 20),
    gecos: readCString(entry, 24),
    home: readCString(entry, 32),
    shell: readCString(entry, 40),
  };
}

/** The user with this uid, or undefined when the databases have none. */
export const userByUid: (uid: number) => User | undefined = cached((uid) => userFrom(libc().getpwuid(uid)));

/** The user of this name as the databases have it now, for decisions on what somebody may do. */
export function currentUserByName(name: string): User | undefined {
  const text = cstring(name);
  return userFrom(libc().getpwnam(ptr(text)));
}

/** The user of this name, or undefined when the databases have none. */
export const userByName: (name: string) => User | undefined = cached(currentUserByName);

/** Names of the users whom the databases list as members of this group, as they are now; undefined when there is no such group. */
export function groupMembers(name: string): string[] | undefined {
  const text = cstring(name);
  const entry = address(libc().getgrnam(ptr(text)));
  if (entry === undefined) return undefined;
  const list = read.ptr(entry, 24) as Pointer;
  const members: string[] = [];
  for (let offset = 0; ; offset += POINTER_BYTES) {
    const member = readCString(list, offset);
    if (member === "") return members;
    members.push(member);
  }
}

/** A user's name, or the uid in decimal when it has none (as `flux jobs` prints it). */
export function userName(uid: number): string {
  return userByUid(uid)?.name ?? String(uid);
}
