// FullScreen: the terminal as a screen of lines, with keys instead of typed lines. Whoever took it gives it back on every way out.
import { windowSize, enterRawMode, type WindowSize } from "../../os/terminal.ts";
import { parseSignal } from "../../formats/signal.ts";
import { write } from "../output.ts";

export interface FullScreenEvents {
  /** What was typed, as the terminal sent it. */
  typed(text: string): void;
  /** The screen has another size, or somebody else has drawn on it. */
  redraw(): void;
  /** A signal, or the end of the terminal; the exit code that goes with it. */
  ended(code: number): void;
}

export interface FullScreen {
  readonly size: WindowSize;
  /** Shows these lines; those that are there already are not sent again. */
  draw(lines: readonly string[]): void;
  /** Everything is sent again with the next draw(). */
  forget(): void;
  /** Ctrl-Z: gives the terminal to the shell until the user comes back. */
  suspend(): void;
  release(): void;
}

const ENTER = "\x1b[?1049h\x1b[?25l\x1b[2J";
const LEAVE = "\x1b[0m\x1b[?25h\x1b[?1049l";
const SIZE_DEFAULT: WindowSize = { rows: 24, columns: 80 };
const END_SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] as const;

/** Takes the terminal on stdin and stdout. Throws FluxError ENOTTY when stdin is none. */
export function openFullScreen(events: FullScreenEvents): FullScreen {
  let shown: readonly string[] = [];
  let restore: (() => void) | undefined;
  const take = (): void => {
    restore ??= enterRawMode(0);
    shown = [];
    write(ENTER);
  };
  const giveBack = (): void => {
    const back = restore;
    restore = undefined;
    if (back === undefined) return;
    write(LEAVE);
    tolerant(back);
  };
  const onContinue = (): void => {
    take();
    events.redraw();
  };
  const onResize = (): void => {
    shown = [];
    events.redraw();
  };
  const enders = END_SIGNALS.map((name) => [name, () => events.ended(128 + parseSignal(name))] as const);
  take();
  for (const [name, end] of enders) process.on(name, end);
  process.on("SIGWINCH", onResize).on("SIGCONT", onContinue).on("exit", giveBack);
  const reader = Bun.stdin.stream().getReader();
  void readTyped(reader, events);
  return {
    get size() {
      return sizeOf();
    },
    draw(lines) {
      if (restore === undefined) return;
      write(changes(shown, lines));
      shown = lines;
    },
    forget: () => void (shown = []),
    suspend() {
      giveBack();
      process.kill(0, "SIGTSTP");
    },
    release() {
      for (const [name, end] of enders) process.off(name, end);
      process.off("SIGWINCH", onResize).off("SIGCONT", onContinue).off("exit", giveBack);
      reader.cancel().catch(() => {});
      giveBack();
    },
  };
}

/** What to send to a screen that shows `before` (nothing: it may show anything). */
export function changes(before: readonly string[], after: readonly string[]): string {
  let out = before.length === 0 ? "\x1b[2J" : "";
  for (let row = 0; row < Math.max(before.length, after.length); row++) {
    const line = after[row] ?? "";
    if (line !== (before[row] ?? "")) out += `\x1b[${row + 1};1H${line}\x1b[K`;
  }
  return out;
}

/** A size of zero is that of a terminal which doesn't know. */
function sizeOf(): WindowSize {
  const size = windowSize(1) ?? windowSize(0) ?? SIZE_DEFAULT;
  return size.rows > 0 && size.columns > 0 ? size : SIZE_DEFAULT;
}

/** Ends when the reader is cancelled. */
async function readTyped(reader: { read(): Promise<{ done: boolean; value?: Uint8Array | undefined }> }, events: FullScreenEvents): Promise<void> {
  const decoder = new TextDecoder();
  try {
    for (let item = await reader.read(); !item.done; item = await reader.read()) events.typed(decoder.decode(item.value, { stream: true }));
  } catch {
    // EIO: the terminal has hung up.
  }
  events.ended(0);
}

/** The terminal may be gone: then there is nothing to restore. */
function tolerant(run: () => void): void {
  try {
    run();
  } catch {
    // See above.
  }
}
