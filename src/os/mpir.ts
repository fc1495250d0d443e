// The MPIR interface: variables and a function in this process that parallel debuggers look for. They are in a library of their own
// (native/libmpir.c), since an executable of the runtime has no symbols.
import { CString, dlopen, type Pointer } from "bun:ffi";
import type { ProctableEntry } from "../formats/proctable.ts";
import { errno, FluxError } from "../message/errno.ts";
import { address, cstring } from "./libc.ts";
import { nativeLibrary } from "./native.ts";

const LIBRARY = "libfluxmpir.so";

export interface Mpir {
  /** A debugger is there. */
  readonly isDebugged: boolean;
  /** Says that one is. */
  setDebugged(): void;
  /** Shows the tasks, and stops in MPIR_Breakpoint where debuggers wait. */
  show(jobid: string, table: readonly ProctableEntry[]): void;
  /** Program and arguments that the debugger wants run on every node of the job. */
  readonly tool: readonly string[] | undefined;
}

let mpir: Mpir | undefined;

/** Throws FluxError ENOENT where Flux was built without a C compiler. */
export function openMpir(): Mpir {
  mpir ??= loadMpir();
  return mpir;
}

function load(path: string) {
  return dlopen(path, {
    flux_mpir_begin: { args: ["i32", "ptr"], returns: "i32" },
    flux_mpir_set: { args: ["i32", "ptr", "ptr", "i32"], returns: "i32" },
    flux_mpir_being_debugged: { args: [], returns: "i32" },
    flux_mpir_debug: { args: [], returns: "void" },
    flux_mpir_executable_path: { args: [], returns: "ptr" },
    flux_mpir_server_argument: { args: ["i32"], returns: "ptr" },
    flux_mpir_spawned: { args: [], returns: "void" },
  }).symbols;
}

function loadMpir(): Mpir {
  const path = nativeLibrary(LIBRARY);
  if (path === undefined) throw new FluxError(errno.ENOENT, `${LIBRARY} is not beside the flux executable (lib/ or ../lib/flux/): build Flux where a C compiler is`);
  const library = load(path);
  const must = (result: number): void => {
    if (result !== 0) throw new FluxError(errno.ENOMEM, "no memory for the process table of a debugger");
  };
  return {
    get isDebugged() {
      return library.flux_mpir_being_debugged() !== 0;
    },
    setDebugged: () => library.flux_mpir_debug(),
    show(jobid, table) {
      must(library.flux_mpir_begin(table.length, cstring(jobid)));
      table.forEach(({ host, executable, pid }, i) => must(library.flux_mpir_set(i, cstring(host), cstring(executable), pid)));
      library.flux_mpir_spawned();
    },
    get tool() {
      const program = textAt(library.flux_mpir_executable_path());
      if (program === undefined || program === "") return undefined;
      const argv = [program];
      for (let word = textAt(library.flux_mpir_server_argument(0)); word !== undefined; word = textAt(library.flux_mpir_server_argument(argv.length - 1))) argv.push(word);
      return argv;
    },
  };
}

function textAt(returned: Pointer | bigint | null): string | undefined {
  const pointer = address(returned);
  return pointer === undefined ? undefined : new CString(pointer);
}
