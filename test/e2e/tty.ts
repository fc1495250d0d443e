// `flux` on a terminal of the test's own: what it shows is kept, and may be waited for.
import { shellExitCode } from "../../src/formats/waitstatus.ts";
import { type PtyChild, spawnPty } from "../../src/os/pty.ts";
import { FLUX, type Instance, userEnvironment } from "./flux.ts";

export interface Tty {
  readonly child: PtyChild;
  type(text: string): void;
  /** Resolves when the text has been shown after what the last call waited for; rejects when the program ends without. */
  shows(text: string | RegExp): Promise<void>;
  /** All that was shown. */
  readonly screen: string;
  readonly code: Promise<number>;
}

/** Where the text's first occurrence ends. */
function endOf(text: string | RegExp, shown: string): number | undefined {
  if (typeof text !== "string") {
    const match = text.exec(shown);
    return match === null ? undefined : match.index + match[0].length;
  }
  const at = shown.indexOf(text);
  return at < 0 ? undefined : at + text.length;
}

/** Runs `flux ARGS` in an instance, on a terminal of 101 columns and 31 rows. */
export function fluxOnTty(instance: Instance, args: readonly string[]): Tty {
  return onTty(instance, [FLUX, ...args]);
}

/** Runs any program so. */
export function onTty(instance: Instance, argv: readonly string[]): Tty {
  let screen = "";
  let from = 0;
  let waiting: { text: string | RegExp; resolve: () => void; reject: (err: Error) => void } | undefined;
  const check = (): void => {
    if (waiting === undefined) return;
    const fresh = screen.slice(from);
    const end = endOf(waiting.text, fresh);
    if (end === undefined) return;
    from += end;
    waiting.resolve();
    waiting = undefined;
  };
  const child = spawnPty({
    argv: [...argv],
    env: userEnvironment({ FLUX_URI: instance.uri, TMPDIR: instance.folder, PS1: "prompt> ", ENV: "/dev/null", SHELL: "/bin/sh" }),
    cwd: "/",
    size: { columns: 101, rows: 31 },
    onData(chunk) {
      screen += Buffer.from(chunk).toString();
      check();
    },
  });
  const code = child.exited.then(({ status }) => {
    waiting?.reject(new Error(`ended without ${String(waiting.text)}: ${screen}`));
    return shellExitCode(status);
  });
  return {
    child,
    type: (text) => child.write(text),
    shows: (text) =>
      new Promise((resolve, reject) => {
        waiting = { text, resolve, reject };
        check();
      }),
    get screen() {
      return screen;
    },
    code,
  };
}
