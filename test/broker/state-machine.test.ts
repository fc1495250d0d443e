import { expect, test } from "bun:test";
import { eventOfParent, type State, StateMachine, stateNumber, STATES } from "../../src/broker/state-machine.ts";

/** A machine that records what it does; `react` says what each state posts when it is entered. */
function record(react: Partial<Record<State, string>>): { machine: StateMachine; seen: string[]; ended: Promise<void> } {
  const seen: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const machine: StateMachine = new StateMachine({
    now_ms: () => 0,
    enter(state) {
      seen.push(state);
      const event = react[state];
      if (event === undefined) resolve();
      else machine.post(event);
    },
    changed: ({ event, from, to }) => seen.push(`${event}:${from}->${to}`),
    ignored: (event, state) => seen.push(`${event}?${state}`),
    failed: (state, err) => seen.push(`${state}!${String(err)}`),
  });
  return { machine, seen, ended: promise };
}

const LEADER: Partial<Record<State, string>> = {
  "load-builtins": "builtins-success",
  join: "parent-none",
  "config-sync": "sync-none",
  init: "rc1-success",
  quorum: "quorum-full",
  run: "rc2-success",
  cleanup: "cleanup-none",
  shutdown: "children-none",
  finalize: "rc3-success",
  goodbye: "goodbye",
  "unload-builtins": "builtins-done",
};

test("a leader's life goes through every state in order", async () => {
  const { machine, seen, ended } = record(LEADER);
  machine.start();
  await ended;
  expect(seen.filter((entry) => !entry.includes("->"))).toEqual([...STATES]);
  expect(machine.state).toBe("exit");
});

test("a failing rc1 skips the initial program but not rc3", async () => {
  const { machine, seen, ended } = record({ ...LEADER, init: "rc1-fail" });
  machine.start();
  await ended;
  expect(seen).toContain("rc1-fail:init->shutdown");
  expect(seen).not.toContain("run");
  expect(seen).toContain("finalize");
});

test("an event that means nothing now is ignored, and said to be", async () => {
  const { machine, seen } = record({});
  machine.start();
  machine.post("rc2-success");
  await Promise.resolve();
  expect(machine.state).toBe("load-builtins");
  expect(seen).toContain("rc2-success?load-builtins");
});

test("the numbers of states are those of stock clients", () => {
  expect(["load-builtins", "join", "run", "shutdown", "exit"].map((state) => stateNumber(state as State))).toEqual([0, 1, 5, 7, 11]);
});

test("a broker follows its parent", () => {
  expect(eventOfParent("join", "init")).toBeUndefined();
  expect(eventOfParent("join", "quorum")).toBe("parent-ready");
  expect(eventOfParent("join", "shutdown")).toBe("parent-fail");
  expect(eventOfParent("quorum", "quorum")).toBeUndefined();
  expect(eventOfParent("quorum", "run")).toBe("quorum-full");
  expect(eventOfParent("run", "cleanup")).toBe(undefined);
  expect(eventOfParent("run", "shutdown")).toBe("shutdown");
  expect(eventOfParent("run", "goodbye")).toBe("parent-fail");
  expect(eventOfParent("finalize", "exit")).toBeUndefined();
});
