// Archive files of `flux dump` and `flux restore`: tar, with the compression that the name's ending (for writing) or the file's
// first bytes (for reading) say. gzip and zstd are built in; for bzip2 and xz their programs are run.
import { once } from "node:events";
import { closeSync, createReadStream, createWriteStream, fstatSync, openSync } from "node:fs";
import { PassThrough, pipeline, type Readable, type Transform, type Writable } from "node:stream";
import { createGunzip, createGzip, createZstdCompress, createZstdDecompress } from "node:zlib";
import { strerror, toFluxError } from "../message/errno.ts";
import { shellExitCode } from "../formats/waitstatus.ts";
import { type Child, spawnProcess } from "../os/spawn.ts";
import { UsageError } from "./command.ts";

type Compression = "none" | "gzip" | "zstd" | "bzip2" | "xz";

const ENDINGS: readonly (readonly [ending: string, compression: Compression])[] = [
  [".tar", "none"],
  [".tgz", "gzip"],
  [".tar.gz", "gzip"],
  [".tar.bz2", "bzip2"],
  [".tar.xz", "xz"],
  [".tar.zst", "zstd"],
];

const MAGIC: readonly (readonly [bytes: readonly number[], compression: Compression])[] = [
  [[0x1f, 0x8b], "gzip"],
  [[0x28, 0xb5, 0x2f, 0xfd], "zstd"],
  [[0x42, 0x5a, 0x68], "bzip2"],
  [[0xfd, 0x37, 0x7a, 0x58, 0x5a], "xz"],
];
const MAGIC_BYTES = 6;

export interface ArchiveSink {
  write(bytes: Uint8Array): Promise<void>;
  /** Resolves when all is written. Throws UsageError. */
  close(): Promise<void>;
}

/** "-" is stdout, as plain tar. Throws UsageError that names the file. */
export function createArchive(path: string): ArchiveSink {
  if (path === "-") return newSink(process.stdout, undefined, undefined);
  const compression = ENDINGS.find(([ending]) => path.endsWith(ending))?.[1];
  if (compression === undefined) throw new UsageError(`No such format '${path}': it must end in ${ENDINGS.map(([ending]) => ending).join(", ")}`);
  const fd = open(path, "w");
  if (compression === "bzip2" || compression === "xz") {
    const child = spawnFilter([compression, "-c"], "pipe", fd);
    closeSync(fd);
    return childSink(child, compression);
  }
  const file = createWriteStream("", { fd });
  if (compression === "none") return newSink(file, file, path);
  const filter = compression === "gzip" ? createGzip() : createZstdCompress();
  return newSink(pipeInto(filter, file), file, path);
}

function open(path: string, mode: "r" | "w"): number {
  try {
    return openSync(path, mode);
  } catch (err) {
    throw new UsageError(`Failed to open '${path}': ${reason(err)}`);
  }
}

function reason(err: unknown): string {
  const { errno: number, message } = toFluxError(err);
  return err instanceof Error && "code" in err && typeof err.code === "string" && err.code.startsWith("E") ? strerror(number) : message;
}

/** An error of either is one of the first, to whoever writes. */
function pipeInto(filter: Transform, file: Writable): Transform {
  file.on("error", (err) => filter.destroy(err));
  filter.pipe(file);
  return filter;
}

function newSink(into: Writable, last: Writable | undefined, path: string | undefined): ArchiveSink {
  let failure: Error | undefined;
  into.on("error", (err: Error) => {
    failure ??= err;
  });
  const check = (): void => {
    if (failure !== undefined) throw new UsageError(`${path ?? "stdout"}: ${reason(failure)}`);
  };
  return {
    async write(bytes) {
      check();
      if (!into.write(bytes)) await Promise.race([once(into, "drain"), once(into, "close")]).catch(() => undefined);
      check();
    },
    async close() {
      check();
      if (last === undefined) return;
      into.end();
      await once(last, "close").catch(() => undefined);
      check();
    },
  };
}

function childSink(child: Child, program: string): ArchiveSink {
  const stdin = child.stdin;
  if (stdin === undefined) throw new Error("a filter has an input");
  return {
    async write(bytes) {
      // It may have ended already: what it said is on stderr, and its exit code comes with close().
      if (!tryWrite(stdin, bytes)) await stdin.drained();
    },
    async close() {
      stdin.end();
      const { status } = await child.exited;
      if (status !== 0) throw new UsageError(`${program} failed with exit code ${shellExitCode(status)}`);
    },
  };
}

function tryWrite(stdin: NonNullable<Child["stdin"]>, bytes: Uint8Array): boolean {
  try {
    return stdin.write(bytes);
  } catch {
    return true;
  }
}

function spawnFilter(argv: readonly string[], stdin: "pipe" | number, stdout: "pipe" | number, onStdout?: (chunk: Uint8Array) => void, onEnd?: () => void): Child {
  try {
    return spawnProcess({ argv, stdin, stdout, ...(onStdout !== undefined && { onStdout }), ...(onEnd !== undefined && { onStdoutEnd: onEnd }) });
  } catch (err) {
    throw new UsageError(`${argv[0]} is needed for this archive: ${err instanceof Error ? err.message : String(err)}`);
  }
}

/** The bytes of a tar archive, uncompressed. "-" is stdin. Throws UsageError that names the file. */
export async function* readArchive(path: string): AsyncGenerator<Uint8Array, void, undefined> {
  const source = path === "-" ? process.stdin : createReadStream("", { fd: openForReading(path) });
  const chunks = withHead(source);
  const { value: head } = await chunks.next();
  if (head === undefined) return;
  const compression = MAGIC.find(([magic]) => magic.every((byte, i) => head[i] === byte))?.[1] ?? "none";
  const all = prepend(head, chunks);
  if (compression === "none") yield* all;
  else if (compression === "gzip" || compression === "zstd") yield* throughTransform(all, compression === "gzip" ? createGunzip() : createZstdDecompress(), path);
  else yield* throughProgram(all, compression);
}

function openForReading(path: string): number {
  const fd = open(path, "r");
  if (!fstatSync(fd).isDirectory()) return fd;
  closeSync(fd);
  throw new UsageError(`Failed to open '${path}': it is a directory`);
}

/** The chunks of a stream, of which the first is long enough to tell a format by. */
async function* withHead(source: Readable): AsyncGenerator<Uint8Array, undefined, undefined> {
  let head: Uint8Array = new Uint8Array(0);
  let isShown = false;
  for await (const chunk of source as AsyncIterable<Uint8Array>) {
    if (isShown) {
      yield chunk;
      continue;
    }
    head = head.length === 0 ? chunk : Buffer.concat([head, chunk]);
    if (head.length < MAGIC_BYTES) continue;
    isShown = true;
    yield head;
  }
  if (!isShown && head.length > 0) yield head;
  return undefined;
}

async function* prepend(head: Uint8Array, chunks: AsyncGenerator<Uint8Array, undefined, undefined>): AsyncGenerator<Uint8Array, void, undefined> {
  yield head;
  yield* chunks;
}

async function* throughTransform(chunks: AsyncIterable<Uint8Array>, transform: Transform, path: string): AsyncGenerator<Uint8Array, void, undefined> {
  const out = new PassThrough();
  let failure: Error | null | undefined;
  pipeline(chunks, transform, out, (err) => {
    failure = err;
  });
  try {
    for await (const chunk of out as AsyncIterable<Uint8Array>) yield chunk;
  } catch (err) {
    throw new UsageError(`${path}: ${reason(failure ?? err)}`);
  }
}

async function* throughProgram(chunks: AsyncIterable<Uint8Array>, program: string): AsyncGenerator<Uint8Array, void, undefined> {
  const out = new PassThrough();
  const child: Child = spawnFilter([program, "-dc"], "pipe", "pipe", (chunk) => {
    if (out.write(chunk)) return;
    child.stdout?.pause();
    out.once("drain", () => child.stdout?.resume());
  }, () => out.end());
  const feeding = feed(child, chunks);
  yield* out as AsyncIterable<Uint8Array>;
  await feeding;
  const { status } = await child.exited;
  if (status !== 0) throw new UsageError(`${program} failed with exit code ${shellExitCode(status)}`);
}

async function feed(child: Child, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  const { stdin } = child;
  if (stdin === undefined) return;
  for await (const chunk of chunks) if (!tryWrite(stdin, chunk)) await stdin.drained();
  stdin.end();
}
