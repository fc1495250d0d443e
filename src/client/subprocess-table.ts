// The processes of a subprocess server, by all that clients name one by.
import type { RemoteProcess } from "./subprocess-process.ts";

export class ProcessTable implements Iterable<RemoteProcess> {
  /** Each with the key of the client that was last given it. */
  readonly #all = new Map<RemoteProcess, string | undefined>();
  readonly #byPid = new Map<number, RemoteProcess>();
  readonly #byLabel = new Map<string, RemoteProcess>();
  readonly #byClient = new Map<string, RemoteProcess>();

  get size(): number {
    return this.#all.size;
  }

  [Symbol.iterator](): Iterator<RemoteProcess> {
    return this.#all.keys();
  }

  add(process: RemoteProcess): void {
    this.#all.set(process, undefined);
    this.#byPid.set(process.pid, process);
    if (process.label !== undefined) this.#byLabel.set(process.label, process);
  }

  remove(process: RemoteProcess): void {
    this.#dropClient(process);
    if (!this.#all.delete(process)) return;
    // A waitable one that has ended is here longer than the system keeps its pid.
    if (this.#byPid.get(process.pid) === process) this.#byPid.delete(process.pid);
    if (process.label !== undefined) this.#byLabel.delete(process.label);
  }

  /** A client has started it by this request, or attached to it. */
  given(process: RemoteProcess, sender: string, matchtag: number): void {
    this.#dropClient(process);
    const key = clientKey(sender, matchtag);
    this.#all.set(process, key);
    this.#byClient.set(key, process);
  }

  withPid(pid: number): RemoteProcess | undefined {
    return this.#byPid.get(pid);
  }

  withLabel(label: string): RemoteProcess | undefined {
    return this.#byLabel.get(label);
  }

  /** That of the client's request, as long as the client is there. */
  ofClient(sender: string, matchtag: number): RemoteProcess | undefined {
    const process = this.#byClient.get(clientKey(sender, matchtag));
    return process?.belongsTo(sender, matchtag) === true ? process : undefined;
  }

  #dropClient(process: RemoteProcess): void {
    const key = this.#all.get(process);
    if (key !== undefined && this.#byClient.get(key) === process) this.#byClient.delete(key);
  }
}

function clientKey(sender: string, matchtag: number): string {
  return `${matchtag}/${sender}`;
}
