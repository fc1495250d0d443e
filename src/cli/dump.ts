// flux dump: a snapshot of the KVS as a tar archive (flux-dump(1)): a file for each value, a link for each symbolic link, with
// slashes between the names of a key. `flux restore` reads it.
import { ContentStore } from "../client/content.ts";
import type { Flux } from "../client/flux.ts";
import { kvsGetroot } from "../client/kvs.ts";
import { type Blob, walkKvs } from "../client/kvs-walk.ts";
import type { Blobref } from "../formats/blobref.ts";
import { tarEnd, tarHeader, tarPadding } from "../formats/tar.ts";
import { valData } from "../formats/treeobj.ts";
import { FluxError } from "../message/errno.ts";
import { getgid, getuid } from "../os/credentials.ts";
import { type ArchiveSink, createArchive } from "./archive-file.ts";
import { defineCommand, flag, UsageError, valueOr } from "./command.ts";
import { explain, withFlux } from "./connect.ts";
import { KeyProgress } from "./key-progress.ts";
import { integer } from "./options.ts";
import { printError, wrongUsage } from "./output.ts";

export default defineCommand({
  name: "dump",
  style: "getopt",
  summary: "write a snapshot of the KVS to an archive",
  usage: "[OPTIONS] OUTFILE",
  details: "Write a snapshot of the primary namespace of the KVS to a tar archive, or (-) to stdout.\n\nExample: flux dump backup.tgz",
  options: {
    verbose: flag("-v, --verbose", "list keys on stderr as they are archived"),
    quiet: flag("-q, --quiet", "don't show how many keys were archived"),
    checkpoint: flag("--checkpoint", "take the last checkpoint, not the current root"),
    noCache: flag("--no-cache", "ask the backing store itself"),
    ignoreFailedRead: flag("--ignore-failed-read", "leave out keys whose content is missing"),
    sdNotify: flag("--sd-notify", "tell systemd of the progress, by way of the broker"),
    maxreqs: valueOr("--maxreqs N", "ask for N blobs at the same time (default 2)", integer(1), 2),
  },
  async run({ options, args }) {
    const [file] = args;
    if (file === undefined || args.length > 1) throw wrongUsage("flux dump [OPTIONS] OUTFILE");
    return withFlux(async (h) => {
      const content = new ContentStore(h, options.noCache);
      const archive = createArchive(file);
      const { root, mtime } = options.checkpoint ? await checkpointRoot(content) : await currentRoot(h);
      const progress = new KeyProgress(h, { ...options, line: (keys) => `flux-dump: archived ${keys} keys`, status: (keys) => `flux-dump(1) has archived ${keys} keys` });
      await dump(content, archive, root, { mtime, progress, window: options.maxreqs, ignoreFailed: options.ignoreFailedRead });
      progress.end();
      await archive.close();
      return 0;
    });
  },
});

async function checkpointRoot(content: ContentStore): Promise<{ root: Blobref; mtime: number }> {
  const [newest] = await explain("error fetching checkpoints", content.checkpoints(), true);
  if (newest === undefined) throw new UsageError("error fetching checkpoints: there is none");
  return { root: newest.rootref, mtime: newest.timestamp };
}

async function currentRoot(h: Flux): Promise<{ root: Blobref; mtime: number }> {
  const { rootref } = await explain("error fetching current KVS root", kvsGetroot(h), true);
  return { root: rootref, mtime: Date.now() / 1000 };
}

interface DumpOptions {
  readonly mtime: number;
  readonly progress: KeyProgress;
  readonly window: number;
  readonly ignoreFailed: boolean;
}

async function dump(content: ContentStore, archive: ArchiveSink, root: Blobref, { mtime, progress, window, ignoreFailed }: DumpOptions): Promise<void> {
  const owner = { uid: getuid(), gid: getgid() };
  const failed = (text: string): void => {
    if (!ignoreFailed) throw new UsageError(text);
    printError(text);
  };
  // One entry after another, whoever has its blobs first.
  let writing: Promise<void> = Promise.resolve();
  const entry = (type: "file" | "symlink", path: string, target: string, parts: readonly Uint8Array[]): Promise<void> => {
    const size_bytes = parts.reduce((sum, part) => sum + part.length, 0);
    writing = writing.then(async () => {
      for (const part of [tarHeader({ type, path, target, size_bytes, mtime }, owner), ...parts, tarPadding(size_bytes)]) if (part.length > 0) await archive.write(part);
      progress.add(path);
    });
    return writing;
  };
  await walkKvs(root, {
    separator: "/",
    window,
    load: (ref) => content.load(ref),
    value: (path, value) => entry("file", path, "", [valData(value)]),
    symlink: (path, { data }) => entry("symlink", path, data.namespace === undefined ? data.target : `${data.namespace}::${data.target}`, []),
    valref(path, _value, blobs) {
      const bad = blobs.findIndex((blob) => blob instanceof FluxError);
      if (bad >= 0) return failed(`${path}: missing blobref ${bad}: ${(blobs[bad] as FluxError).message}`);
      return entry("file", path, "", blobs.filter(isPresent));
    },
    badDirectory: (path, problem, error) => failed(`${path}: could not ${problem === "load" ? "load content" : "decode tree object"}: ${error.message}`),
  });
  await archive.write(tarEnd());
}

function isPresent(blob: Blob): blob is Uint8Array {
  return !(blob instanceof FluxError);
}
