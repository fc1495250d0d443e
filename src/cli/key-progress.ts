// How far a command is that goes through many keys: a line on stderr that is overwritten, or each key; and, for rc1 and rc3 under
// systemd, word to the broker, so that nobody takes it for dead.
import type { Flux } from "../client/flux.ts";
import { printError, writeError } from "./output.ts";

export interface KeyProgressOptions {
  readonly verbose: boolean;
  readonly quiet: boolean;
  readonly sdNotify: boolean;
  /** "flux-dump: archived 3 keys" */
  readonly line: (keys: number) => string;
  /** "flux-dump(1) has archived 3 keys" */
  readonly status: (keys: number) => string;
}

export class KeyProgress {
  keys = 0;
  readonly #h: Flux;
  readonly #options: KeyProgressOptions;

  constructor(h: Flux, options: KeyProgressOptions) {
    this.#h = h;
    this.#options = options;
  }

  /** One key is done; `shown` is what verbose output has of it. */
  add(shown: string): void {
    const { verbose, quiet, sdNotify, line } = this.#options;
    this.keys++;
    if (verbose) printError(shown);
    if (this.keys >= 10 && this.keys % 100 !== 0) return;
    if (!verbose && !quiet) writeError(`\r${line(this.keys)}`);
    if (sdNotify) this.#notify();
  }

  /** Before a line of another kind. */
  clearLine(): void {
    if (!this.#options.verbose && !this.#options.quiet) writeError("\r");
  }

  end(): void {
    const { verbose, quiet, sdNotify, line } = this.#options;
    if (!verbose && !quiet) writeError(`\r${line(this.keys)}\n`);
    if (sdNotify) this.#notify();
  }

  #notify(): void {
    this.#h.notify("state-machine.sd-notify", { status: this.#options.status(this.keys) });
  }
}
