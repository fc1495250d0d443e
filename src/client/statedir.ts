// The state directory of an instance: where it keeps what outlasts it.
import type { Flux } from "./flux.ts";

/** The state directory goes away with the instance: nobody will come back to what is in it. */
export async function isStateTemporary(h: Flux): Promise<boolean> {
  return ((await h.optionalAttr("statedir-cleanup")) ?? "0") !== "0";
}

/** The state directory, where it stays when the instance ends; undefined elsewhere. */
export async function lastingDirectory(h: Flux): Promise<string | undefined> {
  const directory = await h.optionalAttr("statedir");
  return directory === undefined || (await isStateTemporary(h)) ? undefined : directory;
}
