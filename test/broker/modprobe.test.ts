// Modprobe: which modules and tasks run, and after what.
import { afterEach, describe, expect, test } from "bun:test";
import { Modprobe } from "../../src/broker/modprobe/modprobe.ts";
import { refuseCycles, runInOrder } from "../../src/broker/modprobe/plan.ts";
import { describeModule } from "../../src/broker/modprobe/task.ts";
import { task, type TaskConditions } from "../../src/client/modprobe.ts";
import { type Cluster, startCluster } from "../support/cluster.ts";

let cluster: Cluster | undefined;
afterEach(async () => {
  await cluster?.stop();
  cluster = undefined;
});

interface Rig {
  readonly modprobe: Modprobe;
  /** What a dry run would do. */
  readonly plan: () => Promise<string[]>;
  readonly errors: string[];
}

async function rig(rank = 0, attrs: Record<string, string> = {}, modules?: number): Promise<Rig> {
  cluster = await startCluster({ size: 2, attrs });
  const lines: string[] = [];
  const errors: string[] = [];
  const h = cluster.open(rank);
  await h.serve("config", { get: () => ({ set: { key: 1 }, ...(modules !== undefined && { modules }) }) });
  const modprobe = new Modprobe(h, { rank, dryRun: true, print: (line) => lines.push(line), report: (what, error) => errors.push(`${what.name}: ${error.message}`) });
  return {
    modprobe,
    errors,
    async plan() {
      lines.length = 0;
      await modprobe.run(await modprobe.plan());
      return lines;
    },
  };
}

const nothing = (name: string, conditions: TaskConditions = {}) => task(name, conditions, () => {});

describe("the order", () => {
  test("modules come after what they say, with all that they require", async () => {
    const { modprobe, plan } = await rig();
    await modprobe.addFile({ tasks: [], setup: (context) => context.loadModules(["sched"]) });
    const lines = await plan();
    expect(lines.toSorted()).toEqual(["content", "content-sqlite", "heartbeat", "job-manager", "kvs", "kvs-watch", "resource", "sched-simple"].map((name) => `load ${name}`));
    for (const [first, second] of [["content", "content-sqlite"], ["content-sqlite", "kvs"], ["kvs", "kvs-watch"], ["kvs-watch", "resource"], ["resource", "job-manager"], ["job-manager", "sched-simple"]]) {
      expect(lines.indexOf(`load ${first}`)).toBeLessThan(lines.indexOf(`load ${second}`));
    }
  });

  test("before and after *", async () => {
    const { modprobe, plan } = await rig();
    await modprobe.addFile({ tasks: [nothing("last", { after: ["*"] }), nothing("b", { after: ["a"] }), nothing("first", { before: ["*"] }), nothing("a")] });
    expect(await plan()).toEqual(["run first", "run a", "run b", "run last"]);
  });

  test("a circle is refused", async () => {
    const { modprobe } = await rig();
    await modprobe.addFile({ tasks: [nothing("a", { after: ["b"] }), nothing("b", { after: ["c"] }), nothing("c", { after: ["a"] })] });
    const order = await modprobe.plan();
    expect(() => refuseCycles(order)).toThrow("nodes are in a cycle: a, b, c, a");
  });

  test("* and a name exclude each other", async () => {
    const { modprobe } = await rig();
    await expect(modprobe.addFile({ tasks: [nothing("x", { before: ["*"], after: ["kvs"] })] })).rejects.toThrow("x: cannot specify 'before=[\"*\"]'");
  });
});

describe("conditions", () => {
  test.each<[string, TaskConditions, boolean]>([
    ["ranks", { ranks: "0" }, false],
    ["ranks", { ranks: ">0" }, true],
    ["ranks", { ranks: "<2" }, true],
    ["ranks", { ranks: "1-3" }, true],
    ["an attribute", { needsAttrs: ["there"] }, true],
    ["an attribute", { needsAttrs: ["missing"] }, false],
    ["no attribute", { needsAttrs: ["!there"] }, false],
    ["configuration", { needsConfig: ["set.key"] }, true],
    ["configuration", { needsConfig: ["set.other"] }, false],
    ["environment", { needsEnv: ["PATH"] }, true],
    ["no environment", { needsEnv: ["!PATH", "!NO_SUCH_VARIABLE"] }, false],
    ["disabled", { disabled: true }, false],
  ])("%s: %p", async (_, conditions, runs) => {
    const { modprobe, plan } = await rig(1, { there: "0" });
    await modprobe.addFile({ tasks: [nothing("x", conditions)] });
    expect(await plan()).toEqual(runs ? ["run x"] : []);
  });

  test("what needs something that doesn't run doesn't run either", async () => {
    const { modprobe, plan } = await rig(1);
    await modprobe.addFile({ tasks: [nothing("a", { ranks: "0" }), nothing("b", { needs: ["a"] }), nothing("c", { needs: ["b"] }), nothing("d")] });
    expect(await plan()).toEqual(["run d"]);
    modprobe.tasks.enable("a");
    expect((await plan()).toSorted()).toEqual(["run a", "run b", "run c", "run d"]);
  });

  test("bad ranks and unknown keys name the task", async () => {
    const { modprobe } = await rig();
    await expect(modprobe.addFile({ tasks: [nothing("x", { ranks: "=0" })] })).rejects.toThrow("x: ranks: invalid idset: =0");
    expect(() => modprobe.tasks.apply({ modules: [{ name: "a", what: 1 }] })).toThrow("a: invalid config key what");
    expect(() => modprobe.tasks.apply({ modules: [{ ranks: "0" }] })).toThrow("missing required config key 'name'");
    expect(() => modprobe.tasks.apply({ modules: [{ name: "a", args: 1 }] })).toThrow(expect.objectContaining({ message: "'a.args' is number, not an array" }));
  });

  test("[modules] of the configuration is a table", async () => {
    const { modprobe } = await rig(0, {}, 1);
    await expect(modprobe.applyConfig()).rejects.toThrow("modules: expected a table");
  });
});

describe("alternatives", () => {
  test("the highest priority, what is chosen, and what is not disabled", async () => {
    const { modprobe } = await rig();
    modprobe.tasks.apply({ modules: [{ name: "fast", provides: ["sched", "feasibility"], priority: 500 }, { name: "plain", provides: ["sched", "feasibility"] }] });
    const chosen = async (service = "sched"): Promise<string> => (await modprobe.resolve(service)).name;
    expect(await chosen()).toBe("fast");
    modprobe.disable(["fast"]);
    expect(await chosen()).toBe("plain");
    modprobe.tasks.apply({ alternatives: { sched: "sched-simple" } });
    expect([await chosen(), await chosen("feasibility")]).toEqual(["sched-simple", "sched-simple"]);
    modprobe.tasks.apply({ sched: { ranks: "0-3", args: ["x"] } });
    expect(describeModule(await modprobe.resolve("sched"))).toMatchObject({ name: "sched-simple", ranks: "0-3", args: ["x"], priority: 501 });
    expect(() => modprobe.tasks.setAlternative("sched", "kvs")).toThrow("no module kvs provides sched");
  });

  test("arguments add up, or stand alone", async () => {
    const { modprobe, plan } = await rig();
    modprobe.tasks.apply({ modules: [{ name: "m", args: ["a", "b"], provides: ["service"] }] });
    await modprobe.addFile({ tasks: [], setup: (context) => (context.setOption("service", "c   d"), context.loadModules(["m"])) });
    expect(await plan()).toEqual(["load m a b c d"]);
    modprobe.context.setOption("m", "e", true);
    expect(await plan()).toEqual(["load m e c d"]);
  });
});

test("after a failure what runs goes on, and nothing more starts", async () => {
  const order = new Map<string, string[]>([["bad", []], ["beside", []], ["after", ["bad"]], ["afterBeside", ["beside"]]]);
  const ran: string[] = [];
  const ok = await runInOrder(order, async (name) => {
    await Promise.resolve();
    ran.push(name);
    return name !== "bad";
  });
  expect([ok, ran]).toEqual([false, ["bad", "beside"]]);
});
