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
import { join } from "node:path";
import { hashAttribute, requestedHash } from "../../client/content.ts";
import { defineModule } from "../../client/module.ts";
import { blobrefFromHash, hashOf } from "../../formats/blobref.ts";
import { decodeJsonObject, encodeJson } from "../../formats/json.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { obj } from "../../message/unpack.ts";
import { Files } from "./files.ts";

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
        return { value: [decodeJsonObject((await files.readCheckpoint()).toString())] };
      },
      "checkpoint-put": async (req) => files.writeCheckpoint(Buffer.from(encodeJson(req.unpack({ value: obj }).value))),
    });
    const registered = !args.includes("testing");
    if (registered) await h.rpc("content.register-backing", { name: "content-files" }, { nodeid: 0 });
    return {
      stats: async () => ({ object_count: await files.count() }),
      async stop() {
        if (registered) await h.rpc("content.unregister-backing", {}, { nodeid: 0 });
        // Whoever comes next does not know what is not on disk yet.
        await files.sync();
      },
    };
  },
});
