// stage-in: files of archives (flux-archive(1)) are there before the tasks. Option stage-in, or
// stage-in.{names LIST, pattern GLOB, destination [local:|global:]PATH}; default: archive "main" to FLUX_JOB_TMPDIR of each node.
import { archiveKey, ARCHIVE_DEFAULT, checkDestination, extractFiles } from "../../client/archive.ts";
import { kvsGetText } from "../../client/kvs.ts";
import { describeFile, type FileObject, parseArchive } from "../../formats/fileref.ts";
import { globToRegExp } from "../../formats/glob.ts";
import { decodeJson, isJsonObject, type Json } from "../../formats/json.ts";
import { toFluxError } from "../../message/errno.ts";
import { formatError } from "../failure.ts";
import { LOG } from "../log.ts";
import type { Plugin } from "../plugin.ts";
import { type Shell, ShellExit } from "../shell.ts";

interface StageIn {
  readonly names: readonly string[];
  readonly pattern: string | undefined;
  readonly directory: string;
}

export function stageInPlugin(): Plugin {
  return {
    name: "stage-in",
    init(shell) {
      const option = shell.option("stage-in");
      if (option === undefined || option === false || option === 0) return undefined;
      const wanted = parse(shell, option);
      return wanted === undefined ? undefined : stageIn(shell, wanted);
    },
  };
}

const MEMBERS: ReadonlySet<string> = new Set(["names", "tags", "pattern", "destination"]);

/** Undefined: another shell does it for all. */
function parse(shell: Shell, option: Json): StageIn | undefined {
  const given = isJsonObject(option) ? option : {};
  for (const [name, value] of Object.entries(given)) {
    if (!MEMBERS.has(name) || typeof value !== "string") throw new ShellExit(1, `Error parsing stage_in shell option: stage-in.${name}`);
  }
  const { names, tags, pattern, destination } = given as Readonly<Record<string, string | undefined>>;
  if (tags !== undefined && shell.isLeader) shell.log(LOG.warning, "Setting stage-in.names to the value of deprecated option stage-in.tags.", "stage-in");
  const list = (tags ?? names ?? "").split(",").filter((name) => name !== "");
  const [, scope = "local", path] = /^(?:([^:]*):)?(.*)$/s.exec(destination ?? "") ?? [];
  if (scope !== "local" && scope !== "global") throw new ShellExit(1, "stage-in: destination prefix must be local: or global:");
  if (scope === "global" && !shell.isLeader) return undefined;
  const directory = path === undefined || path === "" ? shell.env["FLUX_JOB_TMPDIR"] : path;
  if (directory === undefined) throw new ShellExit(1, "stage-in: FLUX_JOB_TMPDIR is not set");
  return { names: list.length === 0 ? [ARCHIVE_DEFAULT] : list, pattern, directory };
}

async function stageIn(shell: Shell, { names, pattern, directory }: StageIn): Promise<void> {
  const begin_ms = shell.host.clock.monotonic_ms();
  const total = { files: 0, bytes: 0 };
  shell.log(LOG.debug, `=> ${directory}`, "stage-in");
  const regexp = pattern === undefined ? undefined : globToRegExp(pattern);
  try {
    checkDestination(directory);
    for (const name of names) {
      const files = (await readArchive(shell, name)).filter(({ path }) => regexp === undefined || regexp.test(path));
      const onFile = (file: FileObject): void => shell.log(LOG.trace, describeFile(file), "stage-in");
      // As tar does: a later archive may bring a newer file.
      const done = await extractFiles(shell.h, files, { directory, overwrite: true, onFile });
      total.files += done.files;
      total.bytes += done.bytes;
    }
  } catch (err) {
    throw err instanceof ShellExit ? err : new ShellExit(1, `stage-in: ${formatError(err)}`);
  }
  const took_s = Math.max(0.001, (shell.host.clock.monotonic_ms() - begin_ms) / 1000);
  shell.log(LOG.debug, `${total.files} files ${(total.bytes / 1e6 / took_s).toFixed(1)}MB/s`, "stage-in");
}

async function readArchive(shell: Shell, name: string): Promise<FileObject[]> {
  let text: string;
  try {
    text = await kvsGetText(shell.h, archiveKey(name));
  } catch (err) {
    throw new ShellExit(1, `stage-in: could not lookup ${archiveKey(name)} in primary KVS namespace: ${toFluxError(err).message}`);
  }
  return parseArchive(decodeJson(text) as Json);
}
