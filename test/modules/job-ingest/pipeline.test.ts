import { afterEach, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FLAG, submitJob } from "../../../src/client/jobs.ts";
import type { JsonObject } from "../../../src/formats/json.ts";
import { jobKvsPath } from "../../../src/formats/fluid.ts";
import { errno, FluxError } from "../../../src/message/errno.ts";
import { parseIngestConfig } from "../../../src/modules/job-ingest/ingest-config.ts";
import { compileSchema } from "../../../src/modules/job-ingest/json-schema.ts";
import { Pipeline } from "../../../src/modules/job-ingest/pipeline.ts";
import { LineProgram } from "../../../src/modules/job-ingest/line-program.ts";
import { createVirtualClock } from "../../../src/os/clock.ts";
import { jobspec, type Rig, startRig } from "../job-manager/fakes.ts";

const folder = mkdtempSync(join(tmpdir(), "flux-ingest-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));

let rig: Rig | undefined;
const open: Pipeline[] = [];
afterEach(async () => {
  for (const pipeline of open.splice(0)) pipeline.close();
  await rig?.stop();
  rig = undefined;
});

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  chmodSync(path, 0o755);
  return path;
}

const noFlux = (): Promise<never> => Promise.reject(new FluxError(errno.ENOENT, "no broker"));

async function pipelineFor(config: JsonObject, args: readonly string[] = []): Promise<Pipeline> {
  const { validator, frobnicator, buffer_bytes } = parseIngestConfig(config, args);
  const pipeline = await Pipeline.create({ config, validator, frobnicator, buffer_bytes, open: noFlux, env: { PATH: process.env["PATH"] }, log: () => undefined });
  open.push(pipeline);
  return pipeline;
}

const job = (spec: JsonObject = jobspec()) => ({ jobspec: spec, userid: 1000, urgency: 16, flags: 0 });
const withValidators = (plugins: readonly string[], more: JsonObject = {}): JsonObject => ({ ingest: { validator: { plugins: [...plugins], ...more } } });

test("the highest rank that makes ids is an argument", () => {
  const max = (...args: string[]): number => parseIngestConfig({}, args).generatorMax;
  expect([max(), max("max-fluid-generator-id=2"), max("max-fluid-generator-id=16383")]).toEqual([16367, 2, 16383]);
  for (const text of ["16384", "1000000", "-1", "x", ""]) expect(() => max(`max-fluid-generator-id=${text}`)).toThrow("Invalid max-fluid-generator-id");
});

test("without configuration a jobspec is checked and passes unchanged, at once", async () => {
  const pipeline = await pipelineFor({});
  const spec = jobspec();
  expect(pipeline.process(job(spec), true)).toBe(spec);
  expect(() => pipeline.process(job({}), true)).toThrow("invalid jobspec: resources");
  expect(pipeline.process(job({}), false)).toEqual({});
});

test("what is validated is what frobnicators made", async () => {
  const config = { ...withValidators(["schema"], { args: [`--schema=${file("queue.json", JSON.stringify({ properties: { attributes: { properties: { system: { required: ["queue"] } } } } }))}`] }), queues: { batch: {} } };
  const pipeline = await pipelineFor({ ...config, policy: { jobspec: { defaults: { system: { queue: "batch" } } } } });
  expect(pipeline.process(job(), true)).toMatchObject({ attributes: { system: { queue: "batch" } } });
});

test("a user's files change and refuse jobs, with options of their own, and say why in their own words", async () => {
  const bank = file("bank.ts", "export default { start: ({ options }) => ({ jobspec }) => { if (jobspec.attributes.system.bank !== options.name) throw new Error(`attributes.system.bank must be ${options.name}`); } };");
  const give = file("give.js", "export default { start: ({ args }) => async ({ jobspec }) => ({ ...jobspec, attributes: { system: { ...jobspec.attributes.system, bank: args.get('bank') } } }) };");
  const pipeline = await pipelineFor({ ingest: { validator: { plugins: ["jobspec", bank], bank: { name: "physics" } } } });
  expect(() => pipeline.process(job(), true)).toThrow("attributes.system.bank must be physics");
  const both = await pipelineFor({ ingest: { frobnicator: { plugins: [give], args: ["--bank", "physics"] }, validator: { plugins: [bank], bank: { name: "physics" } } } });
  expect(await both.process(job(), true)).toMatchObject({ attributes: { system: { bank: "physics" } } });
});

test("a program answers jobs in order; when it dies its jobs are refused and the next starts it again", async () => {
  const program = file("program.sh", `#!/bin/sh
while read -r line; do
  case $line in
  *'"die"'*) exit 1 ;;
  *'"no"'*) echo '{"errnum": 13, "errstr": "not you"}' ;;
  *'"nonsense"'*) echo nonsense ;;
  *) echo '{"errnum": 0}' ;;
  esac
done
`);
  const pipeline = await pipelineFor(withValidators([program]));
  const ask = (word: string): Promise<unknown> => Promise.resolve(pipeline.process(job({ word }), true));
  const results = await Promise.allSettled(["yes", "no", "yes", "nonsense", "yes"].map(ask));
  expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled", "rejected", "fulfilled"]);
  expect((results[1] as PromiseRejectedResult).reason).toMatchObject({ errno: errno.EACCES, message: "not you" });
  expect(await ask("die").catch((err: Error) => err.message)).toContain("it unexpectedly exited before it answered");
  expect(await ask("yes")).toEqual({ word: "yes" });
  expect(pipeline.stats()["validator"]).toMatchObject({ running: 1, requests: 7, errors: 3, backlog: 0 });
});

test("a program that does not read can hold only so much", async () => {
  const pipeline = await pipelineFor({ ingest: { "buffer-size": "1K", validator: { plugins: [file("stuck.sh", "#!/bin/sh\nexec cat > /dev/null\n")] } } });
  const waiting = Promise.resolve(pipeline.process(job({ text: "x".repeat(600) }), true)).catch((err: FluxError) => err.message);
  expect(await Promise.resolve(pipeline.process(job({ text: "x".repeat(600) }), true)).catch((err: FluxError) => err.errno)).toBe(errno.ENOBUFS);
  pipeline.close();
  expect(await waiting).toContain("it unexpectedly exited before it answered");
});

/** A program with a clock of its own; `logged` has what it writes to stderr too. */
function lineProgram(text: string, name: string) {
  const clock = createVirtualClock();
  const logged: string[] = [];
  const waiting: [string, () => void][] = [];
  const path = file(name, text);
  const log = (_: number, line: string): void => {
    logged.push(line);
    for (const [what, wake] of waiting) if (line.includes(what)) wake();
  };
  const said = (what: string): Promise<void> => new Promise((resolve) => (logged.some((line) => line.includes(what)) ? resolve() : waiting.push([what, resolve])));
  const program = new LineProgram({ name: path, argv: [path], env: { PATH: process.env["PATH"] }, buffer_bytes: 10_000, log, clock, answerLimit_ms: 1000 });
  return { clock, logged, path, program, said };
}

/** One that only waits to be reaped is a zombie. */
const isAlive = (pid: number): boolean => {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false; // it is gone
  }
};

async function untilGone(pid: number): Promise<void> {
  for (let i = 0; i < 600 && isAlive(pid); i++) await Bun.sleep(5);
  expect(isAlive(pid)).toBe(false);
}

test("a program that does not answer is killed with what it started, its jobs are refused, and the next starts it again", async () => {
  const { clock, logged, path, program, said } = lineProgram(`#!/bin/sh
while read -r line; do
  case $line in *'"hang"'*) sleep 54328 & echo "started $!" >&2; wait ;; *) echo '{"errnum": 0}' ;; esac
done
`, "hangs.sh");
  expect(await program.ask({ word: "yes" })).toEqual({ errnum: 0 });
  expect(clock.pending).toBe(0);
  const pid = program.pid ?? 0;
  const asked = Promise.allSettled([program.ask({ word: "yes" }), program.ask({ word: "hang" }), program.ask({ word: "yes" })]);
  await clock.advance(999);
  expect(program.pid).toBe(pid);
  // Its time begins with the answer before it.
  await said("started");
  while (program.backlog > 2) await Bun.sleep(1); // stdout and stderr come in any order
  const started = Number(/started (\d+)/.exec(logged.join("\n"))?.[1]);
  expect(isAlive(started)).toBe(true);
  await clock.advance(1000);
  const [first, ...others] = await asked;
  expect(first?.status).toBe("fulfilled");
  for (const other of others) expect((other as PromiseRejectedResult).reason).toMatchObject({ errno: errno.ETIMEDOUT, message: `${path}: it did not answer within 1 s` });
  expect(await program.ask({ word: "yes" })).toEqual({ errnum: 0 });
  expect(program.pid).not.toBe(pid);
  await untilGone(pid);
  await untilGone(started);
  program.close();
});

test.each([
  ["SIGTERM", "", "exec sleep 54329"],
  ["SIGKILL", "trap '' TERM", "while :; do sleep 0.05; done"],
])("a program that goes on without input gets %s", async (signal, trap, rest) => {
  const { clock, program, said } = lineProgram(`#!/bin/sh
${trap}
read -r line
echo '{"errnum": 0}'
while read -r line; do :; done
echo at-the-end >&2
${rest}
`, `${signal}.sh`);
  await program.ask({});
  const pid = program.pid ?? 0;
  program.close();
  program.close();
  await said("at-the-end");
  await clock.advance(499);
  expect(isAlive(pid)).toBe(true);
  await clock.advance(1);
  await said("does not end with its input");
  if (signal === "SIGKILL") {
    await clock.advance(499);
    expect(isAlive(pid)).toBe(true);
    await clock.advance(1);
  }
  await untilGone(pid);
  for (let i = 0; i < 600 && clock.pending > 0; i++) await Bun.sleep(5);
  expect(clock.pending).toBe(0);
});

test("a job goes all the way through a pipeline that is closed meanwhile, and nothing is left running", async () => {
  const pid = join(folder, "pids");
  const frobnicator = file("slow.sh", `#!/bin/sh\necho $$ >> ${pid}\nread -r line; read -r go < ${join(folder, "go")}; echo '{"errnum": 0, "data": {"made": true}}'; cat > /dev/null\n`);
  const validator = file("late.sh", `#!/bin/sh\necho $$ >> ${pid}\nwhile read -r line; do case $line in *made*) echo '{"errnum": 0}' ;; *) echo '{"errnum": 1}' ;; esac; done\n`);
  execFileSync("mkfifo", [join(folder, "go")]);
  const pipeline = await pipelineFor({ ingest: { frobnicator: { plugins: [frobnicator] }, validator: { plugins: [validator] } } });
  const result = pipeline.process(job(), true);
  pipeline.close();
  writeFileSync(join(folder, "go"), "go\n");
  expect(await result).toEqual({ made: true });
  const pids = readFileSync(pid, "utf8").trim().split("\n").map(Number);
  expect(pids.length).toBe(2);
  for (const each of pids) await untilGone(each);
});

test("a program that was closed is not started for a job that comes too late", async () => {
  const { program } = lineProgram("#!/bin/sh\nexec cat\n", "closed.sh");
  program.close();
  await expect(program.ask({})).rejects.toMatchObject({ errno: errno.ESHUTDOWN });
  expect(program.pid).toBeUndefined();
});

test("require-instance refuses large jobs that start no instance", async () => {
  const large = jobspec();
  const all = await pipelineFor(withValidators(["require-instance"]));
  expect(() => all.process(job(large), true)).toThrow("Direct job submission disabled for all jobs in this instance. Please use flux-batch(1) or flux-alloc(1)");
  const some = await pipelineFor(withValidators(["require-instance"], { "require-instance": { minnodes: 2 } }));
  expect(some.process(job(large), true)).toBe(large);
  const argued = await pipelineFor(withValidators(["require-instance"], { args: ["--require-instance-mincores=1"] }));
  expect(() => argued.process(job(large), true)).toThrow("for jobs >= 1 cores");
  const batch = { ...large, attributes: { system: { duration: 0, batch: {} } } };
  expect(all.process(job(batch), true)).toBe(batch);
  const broker = { ...large, tasks: [{ command: ["/usr/bin/flux", "broker"], slot: "task", count: { per_slot: 1 } }] };
  expect(all.process(job(broker), true)).toBe(broker);
});

test("all that is wrong is said at once, nothing twice", async () => {
  const a = file("a.ts", "export default { start: () => () => { throw new Error('first'); } };");
  const b = file("b.ts", "export default { start: () => async () => { throw new Error('second'); } };");
  const pipeline = await pipelineFor(withValidators([a, b, a]));
  expect(await Promise.resolve(pipeline.process(job(), true)).catch((err: Error) => err.message)).toBe("first, second");
});

test.each([
  [withValidators(["nosuch"]), "validator plugin 'nosuch' not found"],
  [withValidators(["/no/such/program"]), "plugin '/no/such/program' not found"],
  [withValidators(["jobspec"], { args: ["--nosuch=1"] }), "validator: unrecognized arguments: --nosuch"],
  [withValidators(["jobspec"], { args: ["--require-version=2"] }), "Invalid argument to --require-version"],
  [withValidators(["schema"]), "schema: say which: --schema=FILE"],
  [{ ingest: { validator: { plugins: "jobspec" } } }, "error in [ingest.validator] plugins array"],
  [{ ingest: { validator: 5 } }, "error parsing [ingest.validator] config table"],
  [{ ingest: { "batch-count": -1 } }, "Invalid batch-count: -1"],
  [{ ingest: { "buffer-size": "lots" } }, "Invalid buffer-size: 'lots'"],
])("a configuration that can't be: %j", async (config, message) => {
  expect(await pipelineFor(config as JsonObject).catch((err: Error) => err.message)).toContain(message);
});

test.each([
  [{ type: "object", required: ["a"] }, {}, "a is missing"],
  [{ properties: { a: { items: { type: "integer" } } } }, { a: [1, "x"] }, "a[1] must be of type integer"],
  [{ properties: { a: { enum: [1, "b"] } } }, { a: 2 }, "a must be one of 1, b"],
  [{ properties: { a: {} }, additionalProperties: false }, { b: 1 }, "b is not allowed"],
  [{ definitions: { n: { minimum: 3 } }, properties: { a: { $ref: "#/definitions/n" } } }, { a: 2 }, "a must be at least 3"],
  [{ properties: { a: { pattern: "^x" } } }, { a: "y" }, "a does not match ^x"],
  [{ properties: { a: { oneOf: [{ type: "string" }, { required: ["b"], type: "object" }] } } }, { a: {} }, "a.b is missing"],
  [{ not: { required: ["a"] } }, { a: 1 }, "the jobspec is not allowed"],
  [{ type: "object", properties: { a: { minItems: 1, maxItems: 2 } } }, { a: [1] }, undefined],
])("schema %j of %j", (schema, value, problem) => {
  expect(compileSchema(schema as JsonObject)(value as JsonObject)).toBe(problem);
});

test("a keyword of a schema that isn't known is refused, and so is a reference to elsewhere", () => {
  expect(() => compileSchema({ dependencies: {} })({})).toThrow("keyword 'dependencies' is not supported");
  expect(() => compileSchema({ $ref: "http://x" })({})).toThrow("does not lead into this schema");
});

test("a new configuration takes over; a wrong one changes nothing", async () => {
  rig = await startRig({ cores: 0 });
  const { h } = rig;
  const reload = (config: JsonObject): Promise<JsonObject> => h.rpc("job-ingest.config-reload", config);
  await submitJob(h, jobspec());
  await reload(withValidators(["require-instance"]));
  const refused = /Direct job submission disabled/;
  await expect(submitJob(h, jobspec())).rejects.toThrow(refused);
  await expect(reload(withValidators(["nosuch"]))).rejects.toThrow("validator plugin 'nosuch' not found");
  await expect(submitJob(h, jobspec())).rejects.toThrow(refused);
  await submitJob(h, jobspec(), { flags: FLAG.NOVALIDATE });
  await reload({ ingest: { validator: { disable: true } } });
  await submitJob(h, jobspec());
  expect((await h.rpc("job-ingest.stats-get"))["pipeline"]).toMatchObject({ validator: { running: 0, requests: 0 }, frobnicator: { pids: [] } });
});

test("batch-count gathers so many jobs in a batch", async () => {
  rig = await startRig({ cores: 0 });
  const { h, kvs } = rig;
  await h.rpc("job-ingest.config-reload", { ingest: { "batch-count": 3 } });
  const first = [submitJob(h, jobspec()), submitJob(h, jobspec())];
  expect((await h.rpc("job-ingest.stats-get"))["batches"]).toBe(0);
  const ids = await Promise.all([...first, submitJob(h, jobspec())]);
  expect(await h.rpc("job-ingest.stats-get")).toMatchObject({ batches: 1, jobs: 3 });
  for (const id of ids) expect(kvs.values.has(jobKvsPath(id, "J"))).toBe(true);
});
