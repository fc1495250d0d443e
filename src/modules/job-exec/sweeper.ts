// Sweeper: finds what is left of jobs. Who is of which job takes a look at every process of the node, so one look is for all
// the jobs that ask in a turn of the event loop.
import { orphansOf } from "../../shell/orphans.ts";

type Look = (namespaces: ReadonlySet<string>) => ReadonlyMap<string, readonly number[]>;

export class Sweeper {
  readonly #look: Look;
  #namespaces = new Set<string>();
  #found: Promise<ReadonlyMap<string, readonly number[]>> | undefined;

  /** `look`: process ids by namespace. Default: of all that have the environment of a task of this broker. */
  constructor(uri: string, look: Look = (namespaces) => orphansOf(namespaces, uri)) {
    this.#look = look;
  }

  /** The processes of the job with this namespace, at the end of this turn; rejects when one can't look. */
  async find(namespace: string): Promise<readonly number[]> {
    this.#namespaces.add(namespace);
    this.#found ??= this.#run();
    return (await this.#found).get(namespace) ?? [];
  }

  async #run(): Promise<ReadonlyMap<string, readonly number[]>> {
    await new Promise((resolve) => void setImmediate(resolve));
    const namespaces = this.#namespaces;
    this.#namespaces = new Set();
    this.#found = undefined;
    return this.#look(namespaces);
  }
}
