import { expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { Sweeper } from "../../../src/modules/job-exec/sweeper.ts";

test("one look at the processes is for all jobs that ask in a turn", async () => {
  const looks: (readonly string[])[] = [];
  const sweeper = new Sweeper("local:///x", (namespaces) => {
    looks.push([...namespaces]);
    return new Map([["job-2", [7]]]);
  });
  expect(await Promise.all(["job-1", "job-2", "job-1"].map((namespace) => sweeper.find(namespace)))).toEqual([[], [7], []]);
  await sweeper.find("job-3");
  expect(looks).toEqual([["job-1", "job-2"], ["job-3"]]);
});

test("a look that fails is told to those who asked for it, and not to the next", async () => {
  let fails = true;
  const sweeper = new Sweeper("local:///x", () => {
    if (fails) throw new Error("/proc is not there");
    return new Map();
  });
  await expect(sweeper.find("job-1")).rejects.toThrow("/proc is not there");
  fails = false;
  expect(await sweeper.find("job-2")).toEqual([]);
});

test("processes of the jobs that are named are found, and none of others of the instance or of other instances", async () => {
  const uri = `local:///sweeper-${process.pid}`;
  const begin = (namespace: string, at: string) => spawn("sleep", ["60"], { env: { PATH: process.env["PATH"], FLUX_KVS_NAMESPACE: namespace, FLUX_URI: at }, stdio: "ignore" });
  const children = [begin("job-1", uri), begin("job-2", uri), begin("job-3", uri), begin("job-1", `${uri}0`)];
  try {
    await Promise.all(children.map((child) => new Promise((resolve) => void child.on("spawn", resolve))));
    const sweeper = new Sweeper(uri);
    const found = await Promise.all(["job-1", "job-2", "job-4"].map((namespace) => sweeper.find(namespace)));
    expect(found).toEqual([[children[0]?.pid ?? 0], [children[1]?.pid ?? 0], []]);
  } finally {
    for (const child of children) child.kill();
  }
});
