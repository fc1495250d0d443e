// files: what the jobspec carries in attributes.system.files (RFC 37) is unpacked into FLUX_JOB_TMPDIR of each node: the script and the
// configuration of `flux batch`, and what --add-file names.
import { extractFiles } from "../../client/archive.ts";
import { parseArchive } from "../../formats/fileref.ts";
import { isJsonObject } from "../../formats/json.ts";
import { getAttribute } from "../../formats/jobspec.ts";
import { formatError } from "../failure.ts";
import type { Plugin } from "../plugin.ts";
import { type Shell, ShellExit } from "../shell.ts";

export function filesPlugin(): Plugin {
  return {
    name: "files",
    init(shell) {
      const files = getAttribute(shell.job.jobspec, "system.files");
      const directory = shell.env["FLUX_JOB_TMPDIR"];
      if (isJsonObject(files) && directory !== undefined) return unpackFiles(shell, files, directory);
      return undefined;
    },
  };
}

async function unpackFiles(shell: Shell, files: Parameters<typeof parseArchive>[0], directory: string): Promise<void> {
  try {
    await extractFiles(shell.h, parseArchive(files), { directory, overwrite: true });
  } catch (err) {
    throw new ShellExit(1, `files: ${formatError(err)}`);
  }
}
