import { describe, expect, test } from "bun:test";
import { withDefaultSignals } from "../../src/os/default-signals.ts";
import { openPmiLibrary } from "../../src/pmi/library.ts";
import { methodsFrom, openPmi, parallelLaunch, parseMethod } from "../../src/pmi/methods.ts";

describe("the methods to try", () => {
  test("libraries only where something was started in parallel", () => {
    expect(methodsFrom({})).toEqual(["config", "simple", "single"]);
    expect(methodsFrom({ SLURM_PROCID: "0", SLURM_STEP_NUM_TASKS: "2" })).toEqual(["config", "simple", "libpmi2", "libpmi", "single"]);
    expect(methodsFrom({ SLURM_PROCID: "0", SLURM_STEP_NUM_TASKS: "1" })).toEqual(["config", "simple", "single"]);
  });

  test("FLUX_PMI_CLIENT_METHODS is the list; a library that is named must work", () => {
    expect(methodsFrom({ FLUX_PMI_CLIENT_METHODS: " simple  libpmi:/a/b.so " })).toEqual(["simple", "libpmi:/a/b.so"]);
    expect(methodsFrom({ FLUX_PMI_LIBRARY: "/a/libpmi.so" })).toEqual(["config", "simple", "libpmi:/a/libpmi.so"]);
    expect(methodsFrom({ PMI_LIBRARY: "/a/libpmi2.so.0" })).toEqual(["config", "simple", "libpmi2:/a/libpmi2.so.0"]);
  });

  test("have names, and perhaps a path", () => {
    expect(parseMethod("libpmi2:/x:y.so")).toEqual({ method: "libpmi2", path: "/x:y.so" });
    expect(parseMethod("simple")).toEqual({ method: "simple", path: undefined });
    expect(() => parseMethod("pmix")).toThrow("there is no PMI method 'pmix': expected simple, libpmi2, libpmi, single");
  });
});

test("launchers in parallel are known by their variables", () => {
  expect(parallelLaunch({})).toBeUndefined();
  expect(parallelLaunch({ SLURM_NTASKS: "4", SLURM_PROCID: "0" })).toBeUndefined(); // a batch script
  expect(parallelLaunch({ SLURM_STEP_NUM_TASKS: "4", SLURM_PROCID: "2" })).toEqual({ launcher: "srun", rank: 2, size: 4 });
  expect(parallelLaunch({ OMPI_COMM_WORLD_RANK: "1", OMPI_COMM_WORLD_SIZE: "3" })?.size).toBe(3);
  expect(parallelLaunch({ PMI_RANK: "x", PMI_SIZE: "3" })).toBeUndefined();
});

describe("opening", () => {
  test("takes the first that works, and tells what it tried", async () => {
    const told: string[] = [];
    const { method, pmi } = await openPmi(["libpmi:/nowhere/libpmi.so", "simple", "single"], { env: {}, trace: (text) => told.push(text) });
    expect(method).toBe("single");
    expect(told).toEqual([
      "trying 'libpmi:/nowhere/libpmi.so'",
      expect.stringContaining("/nowhere/libpmi.so: cannot open shared object file"),
      "trying 'simple'",
      "simple: PMI: there is neither PMI_FD nor PMI_PORT=host:port in the environment",
      "trying 'single'",
      "single: initialize: rank=0 size=1 name=single: success",
    ]);
    await pmi.put("a", "b");
    await pmi.barrier();
    expect(await pmi.get("a")).toBe("b");
    expect(await pmi.get("c")).toBeUndefined();
    expect(told.slice(6)).toEqual(["single: put key=a value=b: success", "single: barrier: success", "single: get key=a value=b: success", "single: get key=c: success"]);
  });

  test("a descriptor that is none of ours is passed over; a server that fails is not", async () => {
    const stale = { PMI_FD: "999", PMI_RANK: "0", PMI_SIZE: "2" };
    expect((await openPmi(["simple", "single"], { env: stale })).method).toBe("single");
    const dead = { PMI_PORT: "127.0.0.1:1", PMI_ID: "0" };
    expect(openPmi(["simple", "single"], { env: dead })).rejects.toThrow("cannot connect to PMI_PORT");
  });

  test("fails with the last reason when none works", () => {
    expect(openPmi(["simple", "libpmi:libc.so.6"], { env: {} })).rejects.toThrow('Symbol "PMI_Init" not found');
    expect(() => openPmiLibrary("libpmi2", { path: "libc.so.6" })).toThrow('Symbol "PMI2_Init" not found');
  });
});

test("handlers of signals are there again after a call that did without them", async () => {
  const { promise, resolve } = Promise.withResolvers<string>();
  process.once("SIGHUP", () => resolve("handled"));
  expect(withDefaultSignals(() => 7)).toBe(7);
  process.kill(process.pid, "SIGHUP");
  expect(await promise).toBe("handled");
});
