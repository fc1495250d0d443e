// Watcher: one open eventlog-watch or update-watch request, and what must be undone when it ends, however it does.
import type { Request } from "../../client/request.ts";
import type { JsonObject } from "../../formats/json.ts";

export class Watcher {
  readonly request: Request;
  #onEnd: (() => void)[] = [];
  #ended = false;

  constructor(request: Request) {
    this.request = request;
    request.onCancel(() => this.#end());
  }

  get isOpen(): boolean {
    return !this.#ended && this.request.isOpen;
  }

  /** `run` is called once: at the end, or now if that was already. */
  onEnd(run: () => void): void {
    if (this.#ended) run();
    else this.#onEnd.push(run);
  }

  send(payload: JsonObject): void {
    if (!this.#ended) this.request.respond(payload);
  }

  /** The empty response that marks the end of what was there at the beginning. */
  sentinel(): void {
    if (!this.#ended) this.request.respond();
  }

  finish(): void {
    if (this.#ended) return;
    this.#end();
    this.request.finish();
  }

  fail(reason: unknown): void {
    if (this.#ended) return;
    this.#end();
    this.request.fail(reason);
  }

  #end(): void {
    this.#ended = true;
    for (const run of this.#onEnd) run();
    this.#onEnd = [];
  }
}
