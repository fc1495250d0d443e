// The "config" service: the configuration object of the instance (flux-config(1)). Rank 0 reads and changes it;
// the others follow their parent.
//
//   config.get → the object; as a stream, each change
//   config.load { the object }     rank 0
//   config.reload                  rank 0: reads config.path again
import type { Flux } from "../../client/flux.ts";
import { DEFERRED, type Request } from "../../client/request.ts";
import { allowUser } from "../../client/service.ts";
import { encodeJson, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError, isErrno, toFluxError } from "../../message/errno.ts";
import { readConfig } from "../config.ts";

export interface ConfigStore {
  readonly current: JsonObject;
  /** Follows the parent's configuration; resolves when the first one is in force. */
  followParent(rank: number): Promise<void>;
}

export interface ConfigOptions {
  readonly rank: number;
  readonly initial: JsonObject;
  readonly path: string | undefined;
  /** Hands a new configuration to everybody concerned; throws what the first of them refuses it with. */
  readonly apply: (config: JsonObject) => Promise<void>;
}

export async function serveConfig(h: Flux, options: ConfigOptions): Promise<ConfigStore> {
  let current = options.initial;
  const watchers = new Set<Request>();

  /** Ends with the last change: two at a time would each revert what the other has applied. */
  let changing: Promise<void> = Promise.resolve();
  const afterOthers = (change: () => Promise<void>): Promise<void> => {
    const changed = changing.then(change);
    changing = changed.catch(() => undefined);
    return changed;
  };

  const change = async (config: JsonObject): Promise<void> => {
    if (encodeJson(config) === encodeJson(current)) return;
    const before = current;
    try {
      await options.apply(config);
    } catch (err) {
      await options.apply(before).catch((again: unknown) => h.log(3, `error reverting the configuration: ${toFluxError(again).message}`));
      throw err;
    }
    current = config;
    for (const req of watchers) req.respond(config);
  };

  const onlyLeader = (): void => {
    if (options.rank !== 0) throw new FluxError(errno.EINVAL, "configuration can only be changed on rank 0");
  };

  await h.serve("config", {
    get: allowUser((req) => {
      req.respond(current);
      if (!req.isOpen) return DEFERRED;
      watchers.add(req);
      req.onCancel(() => watchers.delete(req));
      return DEFERRED;
    }),
    load: async (req) => {
      onlyLeader();
      await afterOthers(() => change(req.payload));
    },
    reload: async () => {
      onlyLeader();
      const { path } = options;
      if (path === undefined) return;
      await afterOthers(async () => {
        const config = await readConfig(path).catch((err: unknown) => {
          throw new FluxError(toFluxError(err).errno, `Config file error: ${toFluxError(err).message}`);
        });
        await change(config);
      });
    },
  });

  return {
    get current() {
      return current;
    },
    async followParent(rank) {
      const stream = h.stream("config.get", {}, { upstreamOf: rank });
      const first = await stream.next();
      if (first.done !== true) await afterOthers(() => change(first.value));
      const refused = (err: unknown): void => h.log(3, `parent update: ${toFluxError(err).message}`);
      void (async () => {
        // One that is refused here is worth a line; the next may be better.
        for await (const config of stream) await afterOthers(() => change(config)).catch(refused);
      })().catch((err: unknown) => {
        // The stream ends with the link to the parent.
        if (!isErrno(err, errno.EHOSTUNREACH) && !isErrno(err, errno.ECANCELED)) refused(err);
      });
    },
  };
}
