// PtyClient: our terminal as that of a job's first task (-o pty.interactive). The leader shell's service SERVICE.PTY takes
//
//   {type: "attach", mode: "rw", winsize: {rows, cols}}   streaming; answers attach, data, resize, exit
//   {type: "data", data, encoding?}   {type: "resize", winsize}   {type: "detach"}
import type { Flux } from "../client/flux.ts";
import type { JsonObject } from "../formats/json.ts";
import { encodeData } from "../formats/stdio.ts";
import { FluxError } from "../message/errno.ts";
import { write } from "./output.ts";
import { enterRawMode, isTerminal, windowSize } from "../os/terminal.ts";

export interface PtyClient {
  /** True while our terminal is the job's. */
  readonly attached: boolean;
  /** Resolves when the terminal is ours again: true if it ever was the job's. */
  readonly done: Promise<boolean>;
  /** True when we left at our own wish, and the job goes on. */
  readonly detached: boolean;
  stop(): void;
}

/** Ctrl-\\: leave the terminal to itself. */
const DETACH_BYTE = 0x1c;
/** Ctrl-D: what a program on a terminal takes for the end of its input. */
const END_OF_INPUT = "\x04";

export function attachPty(h: Flux, topic: string, nodeid: number): PtyClient {
  const stream = h.stream(topic, { type: "attach", mode: "rw", winsize: ownWindow() }, { nodeid });
  const send = (payload: JsonObject): void => {
    // What is typed into a terminal that is going away is lost, as on any terminal.
    h.rpc(topic, payload, { nodeid }).catch(() => {});
  };
  const resize = (): void => send({ type: "resize", winsize: ownWindow() });
  let release: (() => void) | undefined;
  let detached = false;
  const take = (): void => {
    const restore = isTerminal(0) ? enterRawMode(0) : () => {};
    const reader = Bun.stdin.stream().getReader();
    process.on("SIGWINCH", resize);
    release = () => {
      release = undefined;
      process.off("SIGWINCH", resize);
      reader.cancel().catch(() => {});
      restore();
    };
    // Cancelling the reader ends this.
    void (async () => {
      for (let item = await reader.read(); !item.done; item = await reader.read()) {
        detached = isTerminal(0) && item.value[0] === DETACH_BYTE;
        send(detached ? { type: "detach" } : dataPayload(item.value));
      }
      if (release !== undefined && !isTerminal(0)) send({ type: "data", data: END_OF_INPUT });
    })();
  };
  const follow = async (): Promise<boolean> => {
    let taken = false;
    try {
      for await (const response of stream) {
        if (response["type"] === "attach" && !taken) {
          taken = true;
          take();
        } else if (response["type"] === "data") write(bytesOf(response));
        else if (response["type"] === "resize") resize();
        else if (response["type"] === "exit") {
          if (taken) release?.();
          if (taken) sayGoodbye(response["message"], detached);
          break;
        }
      }
    } catch (err) {
      // A terminal that has gone is the end of this, not of the job.
      if (!(err instanceof FluxError)) throw err;
      const wasOurs = release !== undefined;
      release?.();
      if (wasOurs) sayGoodbye("remote pty disappeared", true);
    } finally {
      release?.();
    }
    return taken;
  };
  return {
    done: follow(),
    get detached() {
      return detached;
    },
    get attached() {
      return release !== undefined;
    },
    stop: () => void stream.return(),
  };
}

/**
 * On a line of its own, with a cursor that can be seen. A program that goes on without us may have the whole screen: then below it.
 * One that has ended has left the cursor where it wants the next line.
 */
function sayGoodbye(message: unknown, goesOn: boolean): void {
  const text = `[detached: ${typeof message === "string" ? message : "unknown reason"}]`;
  write(isTerminal(1) ? `${goesOn ? "\x1b[999H" : "\r"}${text}\x1b[K\x1b[?25h\r\n` : `${text}\n`);
}

function ownWindow(): JsonObject {
  const size = isTerminal(0) ? windowSize(0) : undefined;
  return { rows: Math.max(1, size?.rows ?? 24), cols: Math.max(1, size?.columns ?? 80) };
}

function dataPayload(bytes: Uint8Array): JsonObject {
  return { type: "data", ...encodeData(bytes) };
}

function bytesOf(response: JsonObject): string | Uint8Array {
  const { data, encoding } = response;
  if (typeof data !== "string") return "";
  return encoding === "base64" ? Buffer.from(data, "base64") : data;
}
