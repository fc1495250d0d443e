// Wrong use: one clear line on stderr, the exit code that Flux users expect, and nothing left hanging.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { flux, type Instance, startInstance } from "./flux.ts";

let instance: Instance;
beforeAll(async () => {
  instance = await startInstance(1);
});
afterAll(() => instance.stop());

test.each([
  [["run", "-N100", "true"], 1, "unsatisfiable request"],
  [["run", "--nosuch", "true"], 2, "unrecognized arguments: --nosuch"],
  [["ping", "--nosuch", "0"], 1, "unrecognized option '--nosuch'"],
  [["run", "-t", "soon", "true"], 1, "invalid Flux standard duration"],
  [["run", "-n", "many", "true"], 1, "many"],
  [["jobs", "--count=x"], 2, "argument -c/--count: invalid int value: 'x'"],
  [["jobtap", "load"], 2, "the following arguments are required: PLUGIN"],
  [["jobtap", "remove"], 2, "the following arguments are required: PLUGIN"],
  [["pstree", "f1"], 0, "JobID f1 unknown"],
  [["cancel", "--states=nosuch", "--all"], 1, "Invalid state nosuch specified"],
  [["run"], 1, "job command and arguments are missing"],
  [["run", "--urgency=99", "true"], 1, "urgency"],
  [["run", "--requires=(", "true"], 1, "requires"],
  [["exec", "-r", "x-y", "true"], 1, "x-y"],
  [["jobs", "-o", "{nosuch}"], 1, "nosuch"],
  [["jobs", "-o", "{id"], 1, "expected '}'"],
  [["job", "info", "notanid", "R"], 1, "notanid"],
  [["job", "attach", "f1"], 1, "No such job"],
  [["kvs", "get", "no.such.key"], 1, "No such file or directory"],
  [["getattr", "nosuch"], 1, "No such file or directory"],
  [["ping", "-c1", "77"], 1, "No route to host"],
  [["resource", "list", "-o", "{nosuch}"], 1, "nosuch"],
  [["submit", "--dependency=nosuch:1", "true"], 1, "nosuch"],
])("flux %j exits %d", async (args, code, text) => {
  const result = await instance.flux(args);
  expect(result.stderr).toContain(text);
  expect(result.stderr).not.toContain("internal error");
  expect(result.code).toBe(code);
});

test("a command that does not exist yet says so", async () => {
  const { stdout, stderr, code } = await flux(["nosuch"]);
  expect([stdout, code]).toEqual(["", 1]);
  expect(stderr).toStartWith("flux: 'nosuch' is not a flux command");
});

test("options of flux itself", async () => {
  const unknown = await flux(["--nosuch", "getattr", "rank"]);
  expect(unknown).toEqual({ stdout: "", stderr: "flux: unrecognized option '--nosuch'\nTry 'flux --help' for more information.\n", code: 1 });
  const top = await instance.flux(["-p", "-r", "getattr", "size"]);
  expect(top).toEqual({ stdout: "1\n", stderr: "", code: 0 });
});

test("flux -p and -r speak to enclosing instances", async () => {
  const script = "flux getattr instance-level; flux -p getattr instance-level; flux --root getattr instance-level; flux -p kvs namespace list | grep -c job";
  const inner = ["flux", "start", "flux", "run", "flux", "start", "sh", "-c", script];
  const { stdout, code } = await instance.flux(["run", ...inner]);
  expect([stdout, code]).toEqual(["2\n1\n0\n1\n", 0]);
});

test.each([[["getattr", "rank"]], [["run", "true"]], [["jobs"]], [["kvs", "get", "x"]]])("flux %j: a broker that isn't there", async (args) => {
  const { stderr, code } = await flux(args, { env: { FLUX_URI: "local:///nonexistent/local-0" } });
  expect(stderr).toContain("/nonexistent/local-0");
  expect(code).toBe(1);
});
