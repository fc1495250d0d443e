// An instance with the store loaded: content, content-sqlite (rank 0), kvs and kvs-watch, in a directory of its own.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { errno, FluxError } from "../../../src/message/errno.ts";
import content from "../../../src/modules/content/content.ts";
import contentSqlite from "../../../src/modules/content-sqlite/content-sqlite.ts";
import kvs from "../../../src/modules/kvs/kvs.ts";
import kvsWatch from "../../../src/modules/kvs-watch/kvs-watch.ts";
import { type Cluster, type ClusterOptions, startCluster } from "../../support/cluster.ts";

export interface Store extends Cluster {
  readonly directory: string;
}

export interface StoreOptions {
  readonly size?: number;
  readonly directory?: string;
  /** Without content-sqlite. */
  readonly memory?: boolean;
  readonly config?: NonNullable<ClusterOptions["config"]>;
  readonly attrs?: Readonly<Record<string, string>>;
  readonly contentArgs?: readonly string[];
}

const directories: string[] = [];

export function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "flux-store-"));
  directories.push(directory);
  return directory;
}

export function removeDirectories(): void {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
}

export async function startStore(options: StoreOptions = {}): Promise<Store> {
  const directory = options.directory ?? newDirectory();
  const cluster = await startCluster({
    size: options.size ?? 1,
    attrs: { statedir: directory, "content.hash": "sha1", ...options.attrs },
    config: options.config ?? {},
  });
  for (const { rank, host } of cluster.brokers) {
    await host.load(content, options.contentArgs ?? []);
    if (rank === 0 && !options.memory) await host.load(contentSqlite);
    await host.load(kvs);
    await host.load(kvsWatch);
  }
  return { ...cluster, directory };
}

/** The errno that a promise rejects with; undefined when it resolves. */
export async function errnoOf(promise: Promise<unknown>): Promise<number | undefined> {
  try {
    await promise;
    return undefined;
  } catch (err) {
    if (err instanceof FluxError) return err.errno;
    throw err;
  }
}

export { errno };
