// The state directory of an instance: where it keeps what outlasts it.
import type { Flux } from "./flux.ts";

/** The state directory, where it stays when the instance ends; undefined elsewhere. */
export async function lastingDirectory(h: Flux): Promise<string | undefined> {
  const directory = await h.optionalAttr("statedir");
  return directory !== undefined && (await h.optionalAttr("statedir-cleanup")) === "0" ? directory : undefined;
}
