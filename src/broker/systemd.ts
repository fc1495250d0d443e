// What systemd is told of a broker that it runs as a service of Type=notify (sd_notify(3)), with the attribute broker.sd-notify.
//
// READY=1 as soon as the broker is up, since an instance that waits for other hosts is no failure; then what it is doing.
// From the beginning of its end on, each step of it gets broker.sd-stop-timeout of its own (EXTEND_TIMEOUT_USEC): a broker that
// makes progress isn't killed. As flux-core does, STOPPING=1 is not sent: `flux shutdown` may take its time.
import { stateNumber, type State } from "./state-machine.ts";

export interface SystemdOptions {
  /** Sends a datagram to NOTIFY_SOCKET; undefined: nobody is to be told. */
  readonly send: ((text: string) => void) | undefined;
  readonly rank: number;
  readonly size: number;
  readonly parentEndpoint: () => string | undefined;
  /** 0: none. */
  readonly stopTimeout_s: number;
}

const STATUS_MAX_LENGTH = 255;

export class Systemd {
  readonly #options: SystemdOptions;
  #isStopping = false;

  constructor(options: SystemdOptions) {
    this.#options = options;
  }

  /** The broker has begun with what it does in this state. */
  entered(state: State): void {
    const { rank, size, parentEndpoint } = this.#options;
    if (stateNumber(state) >= stateNumber("cleanup") && stateNumber(state) <= stateNumber("goodbye")) this.#stopStep();
    const texts: Partial<Record<State, string>> = {
      ...(rank > 0 && { join: `Joining Flux instance via ${parentEndpoint() ?? "?"}` }),
      "config-sync": "Fetching configuration update from parent",
      quorum: "Waiting for instance quorum",
      run: `Running as ${rank === 0 ? "leader" : "member"} of ${size} node Flux instance`,
      shutdown: "Waiting for overlay peers to shutdown",
      exit: "Exiting",
    };
    const text = texts[state];
    if (text !== undefined) this.#send(`STATUS=${text}`);
    if (state === "join") this.#send("READY=1");
  }

  /** A program of the broker says how far it is, or begins; undefined: that it is still at it. */
  progress(text: string | undefined): void {
    if (this.#isStopping) this.#stopStep();
    if (text !== undefined) this.#send(`STATUS=${text.split("\n", 1)[0]?.slice(0, STATUS_MAX_LENGTH)}`);
  }

  /** The first of them begins under the timeout of the unit. */
  #stopStep(): void {
    const { stopTimeout_s } = this.#options;
    if (this.#isStopping && stopTimeout_s > 0) this.#send(`EXTEND_TIMEOUT_USEC=${Math.trunc(stopTimeout_s * 1e6)}`);
    this.#isStopping = true;
  }

  #send(text: string): void {
    this.#options.send?.(text);
  }
}
