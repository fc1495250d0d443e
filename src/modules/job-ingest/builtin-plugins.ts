// The validators and frobnicators that come with Flux (flux-config-ingest(5)).
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { defineFrobnicator, defineValidator, type FrobnicatorPlugin, type ValidatorPlugin } from "../../client/ingest-plugin.ts";
import type { Flux } from "../../client/flux.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { decodeJson, isJsonObject, type Json, type JsonObject } from "../../formats/json.ts";
import { jobspecCounts, parseJobspec } from "../../formats/jobspec.ts";
import { errno, FluxError, isErrno, toFluxError } from "../../message/errno.ts";
import { createConstraints, createDefaults } from "./defaults.ts";
import { compileSchema } from "./json-schema.ts";
import { validateJobspec } from "./submission.ts";

const jobspec = defineValidator({
  description: "Check jobspecs against RFC 14 and RFC 25, in words that name the field",
  args: ["require-version"],
  async start({ args, open }) {
    const version = versionOf(args.get("require-version"));
    const hosts = await open().then(instanceHosts, () => undefined);
    return ({ jobspec: spec }) => validateJobspec(spec, { version, hosts });
  },
});

/** Throws FluxError EINVAL. */
function versionOf(text: string | undefined): 1 | "any" {
  if (text === "any") return "any";
  if (text !== undefined && text !== "1") throw new FluxError(errno.EINVAL, "Invalid argument to --require-version");
  return 1;
}

/** undefined where the attribute "hostlist" is not set. */
async function instanceHosts(h: Flux): Promise<Hostlist | undefined> {
  try {
    return Hostlist.parse(await h.attr("hostlist"));
  } catch (err) {
    if (isErrno(err, errno.ENOENT)) return undefined;
    throw err;
  }
}

const schema = defineValidator({
  description: "Check jobspecs against a JSON schema (--schema=FILE)",
  args: ["schema"],
  start({ args, options }) {
    const path = args.get("schema") ?? options["file"];
    if (typeof path !== "string" || path === "") throw new FluxError(errno.EINVAL, "schema: say which: --schema=FILE");
    const problemIn = compileSchema(readSchema(path));
    problemIn({}); // a schema that can't be used says so now
    return ({ jobspec: spec }) => {
      const problem = problemIn(spec);
      if (problem !== undefined) throw new FluxError(errno.EINVAL, `invalid jobspec: ${problem}`);
    };
  },
});

function readSchema(path: string): Json {
  try {
    return decodeJson(readFileSync(path, "utf8")) as Json;
  } catch (err) {
    throw new FluxError(errno.EINVAL, `schema: ${path}: ${toFluxError(err).message}`, { cause: err });
  }
}

const feasibility = defineValidator({
  description: "Ask the scheduler whether the job can ever run here",
  args: [],
  start: ({ open }) => async ({ jobspec: spec, userid, urgency, flags }) => {
    const h = await open();
    try {
      await h.rpc("feasibility.check", { jobspec: spec, userid, urgency, flags });
    } catch (err) {
      // Without such a service there is nobody to ask.
      if (!isErrno(err, errno.ENOSYS)) throw err;
    }
  },
});

const MINNODES = "require-instance-minnodes";
const MINCORES = "require-instance-mincores";
/** Jobs that name cores only must not slip through a limit of nodes. */
const CORES_PER_NODE = 16;

const requireInstance = defineValidator({
  description: "Refuse large jobs that don't start a Flux instance of their own",
  args: [MINNODES, MINCORES],
  start({ args, options }) {
    const nnodes = sizeOf(args.get(MINNODES) ?? options["minnodes"], "minnodes");
    const given = sizeOf(args.get(MINCORES) ?? options["mincores"], "mincores");
    const ncores = nnodes > 0 && given === 0 ? CORES_PER_NODE * nnodes : given;
    const sizes = [...(nnodes > 0 ? [`${nnodes} nodes`] : []), ...(ncores > 0 ? [`${ncores} cores`] : [])].join(" or ");
    const which = sizes === "" ? "for all jobs in this instance" : `for jobs >= ${sizes}`;
    return ({ jobspec: spec }) => {
      if (isSmaller(spec, nnodes, ncores) || startsInstance(spec)) return;
      throw new FluxError(errno.EINVAL, `Direct job submission disabled ${which}. Please use flux-batch(1) or flux-alloc(1)`);
    };
  },
});

function sizeOf(value: Json | undefined, name: string): number {
  const size = value === undefined ? 0 : Number(value);
  if (!Number.isSafeInteger(size) || size < 0) throw new FluxError(errno.EINVAL, `ingest.validator.require-instance.${name}: must be a number >= 0`);
  return size;
}

function isSmaller(spec: JsonObject, minNodes: number, minCores: number): boolean {
  const { nnodes, nslots, coresPerSlot } = jobspecCounts(parseJobspec(spec));
  return !((nnodes > 0 && nnodes >= minNodes) || nslots * coresPerSlot >= minCores);
}

/** flux batch and flux alloc leave system.batch; others say "flux broker" or "flux start". */
function startsInstance(spec: JsonObject): boolean {
  const { attributes, tasks } = parseJobspec(spec);
  if (attributes.system !== undefined && Object.hasOwn(attributes.system, "batch")) return true;
  const [program = "", word = ""] = tasks[0]?.command ?? [];
  return basename(program) === "flux" && (word === "broker" || word === "start");
}

const unchanged = (job: { readonly jobspec: JsonObject }): JsonObject => job.jobspec;

const defaults = defineFrobnicator({
  description: "Add what [policy.jobspec.defaults] and [queues] give to jobs that lack it",
  args: [],
  start({ config }) {
    const apply = createDefaults(config);
    return apply === undefined ? unchanged : ({ jobspec: spec }) => apply(spec);
  },
});

const constraints = defineFrobnicator({
  description: "Add the properties that the job's queue requires of nodes",
  args: [],
  start({ config }) {
    const apply = createConstraints(config);
    return apply === undefined ? unchanged : ({ jobspec: spec }) => apply(spec);
  },
});

export const VALIDATORS: Readonly<Record<string, ValidatorPlugin>> = { feasibility, jobspec, "require-instance": requireInstance, schema };
export const FROBNICATORS: Readonly<Record<string, FrobnicatorPlugin>> = { constraints, defaults };

/** A table of the configuration, or an empty one. */
export function tableOf(config: JsonObject, ...path: readonly string[]): JsonObject {
  let found: Json | undefined = config;
  for (const name of path) found = isJsonObject(found) ? found[name] : undefined;
  return isJsonObject(found) ? found : {};
}
