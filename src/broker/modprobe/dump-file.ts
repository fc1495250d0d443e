// Where a dump of the KVS goes when the instance ends, and comes from when it starts (attributes content.dump and content.restore):
// a file, or "auto": a file named by the time in the directory "dump", and a link RESTORE to it, which the next start
// follows and removes. So the content store begins anew with what is still referred to.
import { lstatSync, mkdirSync, realpathSync, rmSync, symlinkSync } from "node:fs";
import { basename, join } from "node:path";
import type { ModprobeContext } from "../../client/modprobe.ts";

export interface DumpFile {
  readonly path: string;
  /** With "auto". */
  readonly link: string | undefined;
}

/** In the state directory if that stays, else in the current one. */
async function dumpDirectory(context: ModprobeContext): Promise<string> {
  const stays = (await context.attr("statedir-cleanup")) === "0";
  return join((stays ? await context.attr("statedir") : undefined) ?? ".", "dump");
}

/** The file to restore from; undefined when there is none. */
export async function fileToRestore(context: ModprobeContext, given: string): Promise<DumpFile | undefined> {
  if (given !== "auto") return { path: given, link: undefined };
  const link = join(await dumpDirectory(context), "RESTORE");
  if (lstatSync(link, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return undefined;
  return { path: realpathSync(link), link };
}

/** The file to dump to; its directory is made. */
export async function fileToDump(context: ModprobeContext, given: string, now: Date): Promise<DumpFile> {
  if (given !== "auto") return { path: given, link: undefined };
  const directory = await dumpDirectory(context);
  mkdirSync(directory, { recursive: true });
  return { path: join(directory, `${timestamp(now)}.tgz`), link: join(directory, "RESTORE") };
}

/** Called when the dump is there. */
export function linkDump({ path, link }: DumpFile): void {
  if (link === undefined) return;
  rmSync(link, { force: true });
  symlinkSync(basename(path), link);
}

/** 20261129_235959 */
function timestamp(now: Date): string {
  const two = (n: number): string => String(n).padStart(2, "0");
  return `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}_${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}`;
}

/** A word of a shell's command line. */
export function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
