// The processes of a subprocess server are found without a look at the others.
import { expect, test } from "bun:test";
import type { RemoteProcess } from "../../src/client/subprocess-process.ts";
import { ProcessTable } from "../../src/client/subprocess-table.ts";

interface Fake {
  readonly process: RemoteProcess;
  client: string | undefined;
}

function fake(pid: number, looked: () => void = () => undefined): Fake {
  const it: Fake = {
    client: undefined,
    process: {
      get pid() {
        looked();
        return pid;
      },
      get label() {
        looked();
        return `label${pid}`;
      },
      gone: Promise.resolve(),
      belongsTo(sender, matchtag) {
        looked();
        return it.client === `${sender} ${matchtag}`;
      },
      write: () => undefined,
      kill: () => true,
      describe: () => ({}),
      wait: () => undefined,
      attach: () => undefined,
    },
  };
  return it;
}

test("by pid, label and client, at the cost of one", () => {
  const table = new ProcessTable();
  let looks = 0;
  const fakes = Array.from({ length: 1000 }, (_, i) => fake(i, () => looks++));
  for (const [i, it] of fakes.entries()) {
    table.add(it.process);
    it.client = `sender ${i}`;
    table.given(it.process, "sender", i);
  }
  expect([table.size, [...table].length]).toEqual([1000, 1000]);
  looks = 0;
  const last = fakes.at(-1)?.process;
  expect([table.withPid(999), table.withLabel("label999"), table.ofClient("sender", 999)].every((found) => found === last)).toBe(true);
  expect([table.withPid(1000), table.withLabel("x"), table.ofClient("other", 999)]).toEqual([undefined, undefined, undefined]);
  expect(looks).toBeLessThan(5);
});

test("whom a client has left belongs to the next that attaches; what is removed is not found", () => {
  const table = new ProcessTable();
  const it = fake(7);
  table.add(it.process);
  it.client = "a 1";
  table.given(it.process, "a", 1);
  it.client = undefined;
  expect(table.ofClient("a", 1)).toBeUndefined();
  it.client = "b 1";
  table.given(it.process, "b", 1);
  expect(table.ofClient("b", 1)).toBe(it.process);
  const young = fake(7); // The pid is in use again.
  table.remove(it.process);
  table.add(young.process);
  table.remove(it.process);
  expect([table.withPid(7), table.ofClient("b", 1), table.size]).toEqual([young.process, undefined, 1]);
});
