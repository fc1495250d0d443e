// What a server of subprocesses keeps of a background process (RFC 42): its output and its end go to the broker's log for as long
// as it lives, attached or not; of one that is waitable the last output is kept for who asks how it ended.
import type { JsonObject } from "../formats/json.ts";
import { type Splitter, splitLines } from "../formats/lines.ts";
import { encodeIo } from "../formats/stdio.ts";
import { exitCode } from "../formats/waitstatus.ts";
import type { LogLevel } from "./log.ts";
import type { RemoteCommand } from "./subprocess-command.ts";

const LOG_ERR = 3;
const LOG_INFO = 6;
/** The last line is kept whole even if it is longer. */
const KEPT_BYTES_MAX = 8192;

export interface RecordOptions {
  readonly log: (level: LogLevel, message: string) => void;
  readonly command: RemoteCommand;
  readonly pid: number;
  /** Of the broker. */
  readonly rank: number;
  readonly keepOutput: boolean;
}

export interface SubprocessRecord {
  output(stream: string, data: Uint8Array): void;
  /** Nothing more comes from this stream. */
  endOf(stream: string): void;
  finished(status: number): void;
  /** I/O objects (RFC 24), the oldest first. */
  readonly kept: readonly JsonObject[];
}

export function recordSubprocess({ log, command, pid, rank, keepOutput }: RecordOptions): SubprocessRecord {
  const program = (command.argv[0] ?? "").replace(/^.*\//, "");
  const kept: { readonly io: JsonObject; readonly bytes: number }[] = [];
  let kept_bytes = 0;
  const keep = (stream: string, data: Uint8Array): void => {
    kept.push({ io: encodeIo({ stream, rank, data }), bytes: data.length });
    kept_bytes += data.length;
    while (kept_bytes > KEPT_BYTES_MAX && kept.length > 1) kept_bytes -= kept.shift()?.bytes ?? 0;
  };
  const line = (stream: string, data: Uint8Array): void => {
    const text = Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString().replace(/\n$/, "");
    log(stream === "stderr" ? LOG_ERR : LOG_INFO, `${command.label ?? program}[${pid}]: ${text}`);
    if (keepOutput) keep(stream, data);
  };
  const splitters = new Map<string, Splitter>();
  return {
    output(stream, data) {
      const splitter = splitters.get(stream) ?? splitLines((whole) => line(stream, whole));
      splitters.set(stream, splitter);
      splitter.push(data);
    },
    endOf: (stream) => splitters.get(stream)?.end(),
    finished(status) {
      const code = exitCode(status);
      const name = command.label === undefined ? program : `${command.label}: ${program}`;
      log(LOG_INFO, `${name}[${pid}]: ${code === undefined ? `Killed by signal ${status & 0x7f}` : `Exit ${code}`}`);
    },
    get kept() {
      return kept.map(({ io }) => io);
    },
  };
}
