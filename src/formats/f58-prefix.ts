// How the F58 form of job ids begins (RFC 19): ƒ, or f for terminals and logs that are not UTF-8. A file of its own, since
// main.ts decides it for every command, also for those that know no job ids.

let prefix: "ƒ" | "f" = "ƒ";

export function f58Prefix(): "ƒ" | "f" {
  return prefix;
}

/** From now on, job ids begin with f in this process. */
export function useAsciiJobIds(): void {
  prefix = "f";
}
