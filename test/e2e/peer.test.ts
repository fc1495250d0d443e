// Commands of stock flux-core against our brokers: they work unchanged. FLUX_PEER names the stock `flux` executable;
// without it these tests are skipped. Job ids are above 2^53.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { type Instance, type Result, run, startInstance } from "./flux.ts";

const PEER = process.env["FLUX_PEER"] ?? "";
const peerTest = test.skipIf(!existsSync(PEER));
if (!existsSync(PEER)) console.error("peer.test.ts: set FLUX_PEER to the flux executable of flux-core 0.88 to run these tests");

let instance: Instance;
beforeAll(async () => {
  if (existsSync(PEER)) instance = await startInstance(4);
});
afterAll(() => instance?.stop());

/** A shell script in which `flux` is the stock one. */
function peer(script: string, env: Record<string, string> = {}): Promise<Result> {
  return run(["sh", "-c", script], { env: { ...env, FLUX_URI: instance.uri, PATH: `${PEER.replace(/\/flux$/, "")}:/usr/bin:/bin` } });
}

async function output(script: string): Promise<string> {
  const { stdout, stderr, code } = await peer(script);
  expect([stderr, code], script).toEqual(["", 0]);
  return stdout;
}

peerTest("attributes, ping, KVS, events, log and modules", async () => {
  expect(await output("flux getattr size")).toBe("4\n");
  expect((await output("flux lsattr")).split("\n")).toContain("hostlist");
  expect(await output("flux ping -c1 2")).toMatch(/^flux-ping 2!broker\n2!broker\.ping pad=0 seq=0 time=\d+\.\d+ ms \([0-9a-f!]+\)\n$/);
  expect(await output('flux kvs put a.b=1 a.c="{\\"n\\":[true,1.5]}"; flux kvs get a.b a.c; flux kvs ls -1 a; flux kvs dir a')).toBe('1\n{"n":[true,1.5]}\nb\nc\na.b = 1\na.c = {"n":[true,1.5]}\n');
  expect((await peer("flux kvs get nokey")).stderr).toBe("flux-kvs: nokey: No such file or directory\n");
  expect(await output(`flux event sub -c1 peer.test & while kill -0 $! 2>/dev/null; do flux event pub peer.test '{"x":1}'; done; wait $!`)).toBe('peer.test\t{"x":1}\n');
  expect(await output("flux logger peer was here; flux dmesg | tail -1")).toContain("logger.notice[0]: peer was here");
  expect(await output("flux module list")).toMatch(/^job-manager +\d+ +R/m);
});

peerTest("jobs: submit, run, attach, wait, eventlog, jobs, signals", async () => {
  const id = (await output("flux submit -n4 -N2 --flags=waitable sh -c 'echo $FLUX_TASK_RANK; echo end'")).trim();
  expect(BigInt(await output(`flux job id --to=dec ${id}`))).toBeGreaterThan(2n ** 53n);
  expect((await output(`flux job attach -l ${id} | sort`)).trim().split("\n")).toEqual([0, 1, 2, 3].flatMap((rank) => [`${rank}: ${rank}`, `${rank}: end`]));
  expect((await peer(`flux job wait ${id}`)).code).toBe(0);
  expect(await output(`flux job eventlog ${id}`)).toMatch(/ submit .*\n.* validate\n.* depend\n.* priority priority=16\n.* alloc .*\n.* start\n.* finish status=0\n.* release .*\n.* free\n.* clean\n$/);
  expect(await output(`flux jobs -no '{id} {ntasks} {nnodes} {status} {returncode}' ${id}`)).toBe(`${id} 4 2 COMPLETED 0\n`);
  expect((await peer("flux run sh -c 'exit 3'")).code).toBe(3);
  expect((await peer("flux run sh -c 'kill -TERM $$'")).code).toBe(143);
  expect(await output("echo typed | flux run cat")).toBe("typed\n");
  const sleeper = (await output("flux submit --wait-event=start sleep 100")).trim();
  await output(`flux cancel ${sleeper}; flux job wait-event -q ${sleeper} clean`);
  expect(await output(`flux jobs -no '{status}' ${sleeper}`)).toBe("CANCELED\n");
  expect((await peer("flux run --requires=host:nosuch true")).stderr).toContain("host constraint contains invalid hosts: host 'nosuch' not found");
  expect((await peer("flux run -N100 true")).stderr).toContain("unsatisfiable");
});

peerTest("durations that are whole numbers stay reals on the way", async () => {
  const id = (await output("flux submit --urgency=0 -t 1h true")).trim();
  await output(`flux update ${id} duration=2h`);
  expect(await output(`flux job eventlog ${id} | grep update`)).toMatch(/ jobspec-update attributes\.system\.duration=7200\.0\n$/);
  expect(await output(`flux job timeleft ${id} 2>/dev/null; flux jobs -no '{duration}' ${id}; flux cancel ${id}`)).toBe("7200.0\n");
});

peerTest("resources, uptime, exec, proxy", async () => {
  expect(await output("flux resource list -s all -no '{nnodes}'")).toBe("4\n");
  expect(await output("flux uptime")).toMatch(/ run .*, +owner .*, +depth 0, +size 4\n/);
  expect((await output("flux exec -r 1-3 sh -c 'flux getattr rank' | sort")).trim().split("\n")).toEqual(["1", "2", "3"]);
  expect(await output("flux proxy $FLUX_URI flux getattr rank")).toBe("0\n");
});

peerTest("a mocked guest may look, and not touch", async () => {
  const guest = { FLUX_HANDLE_USERID: "64321", FLUX_HANDLE_ROLEMASK: "0x2" };
  expect((await peer("flux getattr size", guest)).stdout).toBe("4\n");
  for (const script of ["flux setattr log-level 6", "flux kvs put x=1", "flux exec -r0 true", "flux resource drain 1 x"]) {
    const { code, stderr } = await peer(script, guest);
    expect([code, stderr], script).toEqual([script.startsWith("flux exec") ? 126 : 1, expect.stringMatching(/not permitted|owner credentials/)]);
  }
});

peerTest("64 at once", async () => {
  const scripts = ["flux getattr rank", "flux kvs put p.$I=$I && flux kvs get p.$I", "flux ping -c3 -i0 $((I % 4))", "flux run echo $I"];
  const results = await Promise.all(Array.from({ length: 64 }, (_, i) => peer(`I=${i}; ${scripts[i % scripts.length]}`)));
  for (const [i, { code, stderr }] of results.entries()) expect([i, code, stderr]).toEqual([i, 0, ""]);
});
