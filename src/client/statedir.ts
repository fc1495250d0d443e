// The state directory of an instance: where it keeps what outlasts it.
import { errno, isErrno } from "../message/errno.ts";
import type { Flux } from "./flux.ts";

/** The state directory, where it stays when the instance ends; undefined elsewhere. */
export async function lastingDirectory(h: Flux): Promise<string | undefined> {
  const directory = await attribute(h, "statedir");
  return directory !== undefined && (await attribute(h, "statedir-cleanup")) === "0" ? directory : undefined;
}

async function attribute(h: Flux, name: string): Promise<string | undefined> {
  try {
    return await h.attr(name);
  } catch (err) {
    if (isErrno(err, errno.ENOENT)) return undefined;
    throw err;
  }
}
