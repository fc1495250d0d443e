// Module content-files (rank 0): the backing store of the content service as plain files, one a blob and named by its
// blobref, in the directory content.files of the attribute "statedir". For looking at what an instance stores, and for
// file systems that SQLite can't work on; it keeps one checkpoint and collects no garbage.
//
//   content-backing.load            hash → blob                       ENOENT
//   content-backing.store           blob → hash
//   content-backing.validate        hash                              ENOENT
//   content-backing.checkpoint-get  {} → { value: [checkpoint] }      ENOENT
//   content-backing.checkpoint-put  { value }
//
// Arguments: truncate (begin with an empty directory), testing (leave the content service alone).
import { access, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { hashAttribute, requestedHash } from "../../client/content.ts";
import { defineModule } from "../../client/module.ts";
import { blobrefFromHash, hashOf } from "../../formats/blobref.ts";
import { decodeJsonObject, encodeJson } from "../../formats/json.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import { obj } from "../../message/unpack.ts";

const CHECKPOINT = "kvs-primary";
const OPTIONS = ["truncate", "testing"];

export default defineModule({
  name: "content-files",
  async start(h, { rank, args }) {
    if (rank !== 0) throw new FluxError(errno.EINVAL, "content-files runs on rank 0 only");
    for (const arg of args) if (!OPTIONS.includes(arg)) throw new FluxError(errno.EINVAL, `Unknown module option: '${arg}'`);
    const hashName = await hashAttribute(h);
    const files = new Files(join(await h.attr("statedir"), "content.files"));
    await files.open(args.includes("truncate"));
    await h.serve("content-backing", {
      load: async (req) => files.read(blobrefFromHash(requestedHash(req, hashName), hashName)),
      async store(req) {
        const data = req.bytes ?? new Uint8Array(0);
        const hash = hashOf(data, hashName);
        await files.write(blobrefFromHash(hash, hashName), data);
        return hash;
      },
      validate: async (req) => files.check(blobrefFromHash(requestedHash(req, hashName), hashName)),
      async "checkpoint-get"() {
        return { value: [decodeJsonObject((await files.read(CHECKPOINT)).toString())] };
      },
      "checkpoint-put": async (req) => files.write(CHECKPOINT, Buffer.from(encodeJson(req.unpack({ value: obj }).value))),
    });
    const registered = !args.includes("testing");
    if (registered) await h.rpc("content.register-backing", { name: "content-files" }, { nodeid: 0 });
    return {
      stats: async () => ({ object_count: await files.count() }),
      async stop() {
        if (registered) await h.rpc("content.unregister-backing", {}, { nodeid: 0 });
      },
    };
  },
});

/** A flat directory. Errors are FluxErrors with the errno of the file system. */
class Files {
  #sequence = 0;

  constructor(readonly directory: string) {}

  async open(truncate: boolean): Promise<void> {
    if (truncate) await failing(rm(this.directory, { recursive: true, force: true }));
    await failing(mkdir(this.directory, { recursive: true, mode: 0o700 }));
  }

  #pathOf(name: string): string {
    return join(this.directory, name);
  }

  async read(name: string): Promise<Buffer> {
    return failing(readFile(this.#pathOf(name)));
  }

  async check(name: string): Promise<void> {
    await failing(access(this.#pathOf(name)));
  }

  /** By way of another file, so that half a blob is never found. */
  async write(name: string, data: Uint8Array): Promise<void> {
    const part = this.#pathOf(`.${name}.${this.#sequence++}`);
    await failing(writeFile(part, data));
    await failing(rename(part, this.#pathOf(name)));
  }

  async count(): Promise<number> {
    return (await failing(readdir(this.directory))).filter((name) => !name.startsWith(".")).length;
  }
}

async function failing<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (err) {
    throw new FluxError(toFluxError(err).errno);
  }
}
