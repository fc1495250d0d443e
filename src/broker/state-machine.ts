// The life of a broker as a state machine. Pure: it knows states, events and the table; what a state does is given to it.
//
//   load-builtins → join → config-sync → init → quorum → run → cleanup → shutdown → finalize → goodbye → unload-builtins → exit
//
// An event that means nothing in the current state is ignored. Events are taken one by one, never inside each other.

/** In order; the place in this list is the number that "state-machine.monitor" sends. */
export const STATES = [
  "load-builtins",
  "join",
  "config-sync",
  "init",
  "quorum",
  "run",
  "cleanup",
  "shutdown",
  "finalize",
  "goodbye",
  "unload-builtins",
  "exit",
] as const;

export type State = (typeof STATES)[number];

export function stateNumber(state: State): number {
  return STATES.indexOf(state);
}

/** state → event → next state. */
const NEXT: { readonly [S in State]: Readonly<Record<string, State>> } = {
  "load-builtins": { "builtins-success": "join", "builtins-fail": "unload-builtins" },
  join: { "parent-ready": "config-sync", "parent-none": "config-sync", "parent-fail": "shutdown" },
  "config-sync": { "sync-success": "init", "sync-none": "init", "sync-fail": "shutdown" },
  init: { "rc1-success": "quorum", "rc1-none": "quorum", "rc1-ignorefail": "quorum", "rc1-fail": "shutdown", panic: "shutdown" },
  quorum: { "quorum-full": "run", "quorum-fail": "shutdown", panic: "shutdown" },
  run: { "rc2-success": "cleanup", "rc2-fail": "cleanup", shutdown: "cleanup", "parent-fail": "cleanup", panic: "shutdown" },
  cleanup: { "cleanup-success": "shutdown", "cleanup-none": "shutdown", "cleanup-fail": "shutdown" },
  shutdown: { "children-complete": "finalize", "children-none": "finalize" },
  finalize: { "rc3-success": "goodbye", "rc3-none": "goodbye", "rc3-fail": "goodbye" },
  goodbye: { goodbye: "unload-builtins" },
  "unload-builtins": { "builtins-done": "exit", "builtins-unload-fail": "exit" },
  exit: {},
};

export interface Transition {
  readonly event: string;
  readonly from: State;
  readonly to: State;
  /** Time spent in `from`. */
  readonly elapsed_ms: number;
}

export interface StateMachineOptions {
  readonly now_ms: () => number;
  /** Runs on entry of each state, after `changed`. */
  readonly enter: (state: State) => void;
  readonly changed: (transition: Transition) => void;
  readonly ignored: (event: string, state: State) => void;
  /** An action threw. */
  readonly failed: (state: State, err: unknown) => void;
}

export class StateMachine {
  readonly #options: StateMachineOptions;
  #state: State = "load-builtins";
  #entered_ms: number;
  #events: string[] = [];
  #running = false;

  constructor(options: StateMachineOptions) {
    this.#options = options;
    this.#entered_ms = options.now_ms();
  }

  get state(): State {
    return this.#state;
  }

  /** How long the current state has lasted. */
  get elapsed_ms(): number {
    return this.#options.now_ms() - this.#entered_ms;
  }

  /** Begins: runs the action of the first state. */
  start(): void {
    this.#entered_ms = this.#options.now_ms();
    this.#options.enter(this.#state);
  }

  post(event: string): void {
    this.#events.push(event);
    if (this.#running) return;
    this.#running = true;
    queueMicrotask(() => {
      for (let next = this.#events.shift(); next !== undefined; next = this.#events.shift()) {
        try {
          this.#take(next);
        } catch (err) {
          this.#options.failed(this.#state, err);
        }
      }
      this.#running = false;
    });
  }

  #take(event: string): void {
    const from = this.#state;
    const to = NEXT[from][event];
    if (to === undefined) return this.#options.ignored(event, from);
    const transition = { event, from, to, elapsed_ms: this.elapsed_ms };
    this.#state = to;
    this.#entered_ms = this.#options.now_ms();
    this.#options.changed(transition);
    this.#options.enter(to);
  }
}

/** What a broker makes of its parent's state: the event to post, or undefined to wait. */
export function eventOfParent(own: State, parent: State): string | undefined {
  const at = stateNumber(parent);
  if (own === "join") {
    if (at < stateNumber("quorum")) return undefined;
    return at <= stateNumber("run") ? "parent-ready" : "parent-fail";
  }
  if (own === "quorum") {
    if (parent === "run") return "quorum-full";
    return at > stateNumber("run") ? "quorum-fail" : undefined;
  }
  if (own === "run") {
    if (parent === "shutdown") return "shutdown";
    return at > stateNumber("shutdown") ? "parent-fail" : undefined;
  }
  return undefined;
}
