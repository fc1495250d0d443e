// Where jobtap plugins come from: those that Flux brings along, by the names that stock Flux has for them, and users' files.
import { existsSync } from "node:fs";
import { isAbsolute } from "node:path";
import type { JobtapPlugin } from "../../../client/jobtap.ts";
import { errno, FluxError } from "../../../message/errno.ts";
import { allocBypass } from "./alloc-bypass.ts";
import { allocCheck } from "./alloc-check.ts";
import { perilog } from "./perilog.ts";
import { submitHold } from "./submit-hold.ts";
import { updateAttributes } from "./update-attributes.ts";

const BUNDLED: Readonly<Record<string, JobtapPlugin>> = {
  "alloc-bypass": allocBypass,
  "alloc-check": allocCheck,
  perilog,
  "submit-hold": submitHold,
  "update-attributes": updateAttributes,
};

/** "alloc-bypass" or, as configurations of stock Flux have it, "alloc-bypass.so", with or without a folder before it. */
export function bundledPlugin(path: string): JobtapPlugin | undefined {
  if (/\.[cm]?[jt]s$/.test(path)) return undefined;
  const name = (path.split("/").pop() ?? "").replace(/\.so$/, "");
  return Object.hasOwn(BUNDLED, name) ? BUNDLED[name] : undefined;
}

let version = 0;

/** Imports a user's file anew each time, so that a reload gets what was edited. Throws FluxError ENOENT or EINVAL. */
export async function importPlugin(path: string): Promise<JobtapPlugin> {
  if (!isAbsolute(path) || !existsSync(path)) throw new FluxError(errno.ENOENT, `${path}: No such plugin found`);
  if (/\.so(\.\d+)*$/.test(path)) throw new FluxError(errno.EINVAL, `${path}: plugins are written in JavaScript or TypeScript here: flux-jobtap-plugins(7)`);
  let exported: unknown;
  try {
    exported = ((await import(`${path}?v=${++version}`)) as { default?: unknown }).default;
  } catch (err) {
    throw new FluxError(errno.EINVAL, `${path}: ${err instanceof Error ? err.message : String(err)}`, { cause: err });
  }
  if (!isPlugin(exported)) throw new FluxError(errno.EINVAL, `${path}: the default export is not a jobtap plugin (see defineJobtap)`);
  return exported;
}

function isPlugin(value: unknown): value is JobtapPlugin {
  return typeof value === "object" && value !== null && "start" in value && typeof value.start === "function";
}
