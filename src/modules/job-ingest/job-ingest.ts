// job-ingest: takes jobs in. It checks who submits what, gives each job its id, stores it in the KVS and announces it to
// the job manager. Loaded on every rank, so that submissions are checked where they come in.
//
//   submit {J, urgency, flags} → {id}
//   getinfo → {timestamp}: milliseconds of the id generator, from which those of other ranks start
//
// Arguments: fluid-start=MS (or [ingest] fluid-start in the configuration) begins ids at that many milliseconds (an id
// is about MS * 2^24), allow-root-jobs, disable-validator.
import type { Flux } from "../../client/flux.ts";
import { defineModule, type ModuleContext, type ModuleHooks } from "../../client/module.ts";
import { DEFERRED } from "../../client/request.ts";
import { allowUser } from "../../client/service.ts";
import { FluidGenerator, fluidTimestamp_ms } from "../../formats/fluid.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { isJsonObject, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError, isErrno } from "../../message/errno.ts";
import { jobid, uint, unpack } from "../../message/unpack.ts";
import { Batches } from "./batch.ts";
import { type ApplyDefaults, createDefaults, withoutEnvironment } from "./defaults.ts";
import { checkSubmission, type SubmissionRules } from "./submission.ts";

/** There are 2^14 generators (RFC 19); stock Flux keeps the last 16 for later use. */
const GENERATOR_MAX = 16384 - 16 - 1;

interface Arguments {
  readonly fluidStart_ms: number;
  readonly allowRoot: boolean;
  readonly validate: boolean;
}

export default defineModule({
  name: "job-ingest",
  async start(h, context): Promise<ModuleHooks> {
    if (context.rank > GENERATOR_MAX) throw new FluxError(errno.EINVAL, `job-ingest can't make job ids on ranks above ${GENERATOR_MAX}`);
    const args = parseArguments(context.args, context.config);
    let defaults: ApplyDefaults | undefined;
    const hosts = await instanceHosts(h);
    let rules: SubmissionRules;
    const configure = (config: JsonObject): void => {
      defaults = createDefaults(config);
      rules = { owner: context.owner, allowRoot: args.allowRoot, validate: args.validate && !isValidatorDisabled(config), hosts };
    };
    configure(context.config);
    const fluids = await createGenerator(h, context, args.fluidStart_ms);
    const batches = new Batches(h);
    await h.serve("job-ingest", {
      submit: allowUser((request) => {
        const submission = checkSubmission(request.payload, request, rules);
        const jobspec = withoutEnvironment(defaults === undefined ? submission.jobspec : defaults(submission.jobspec));
        batches.add({ ...submission, jobspec, id: fluids.next(), t_submit: context.clock.now_s(), request });
        return DEFERRED;
      }),
      getinfo: () => ({ timestamp: fluids.timestamp_ms }),
    });
    return {
      stats: () => ({ jobs: batches.jobs, batches: batches.batches }),
      reconfigure: configure,
    };
  },
});

/** undefined where the attribute "hostlist" is not set. */
async function instanceHosts(h: Flux): Promise<Hostlist | undefined> {
  try {
    return Hostlist.parse(await h.attr("hostlist"));
  } catch (err) {
    if (isErrno(err, errno.ENOENT)) return undefined;
    throw err;
  }
}

/** Rank 0 goes on after the highest id that the job manager has seen; the others start from the clock of rank 0. */
async function createGenerator(h: Flux, { rank, clock }: ModuleContext, start_ms: number): Promise<FluidGenerator> {
  const now_ms = (): number => clock.monotonic_ms();
  if (rank !== 0) {
    const { timestamp } = unpack(await h.rpc("job-ingest.getinfo", undefined, { nodeid: 0 }), { timestamp: uint });
    return new FluidGenerator(now_ms, rank, Math.max(start_ms, timestamp));
  }
  const { max_jobid } = unpack(await h.rpc("job-manager.getinfo", undefined, { nodeid: 0 }), { max_jobid: jobid });
  return new FluidGenerator(now_ms, rank, Math.max(start_ms, fluidTimestamp_ms(max_jobid) + 1));
}

function parseArguments(args: readonly string[], config: JsonObject): Arguments {
  let fluidStart_ms = configuredFluidStart_ms(config);
  let allowRoot = false;
  let validate = true;
  for (const arg of args) {
    const start = /^fluid-start=(\d{1,13})$/.exec(arg);
    if (start !== null) fluidStart_ms = Number(start[1]);
    else if (arg === "allow-root-jobs") allowRoot = true;
    else if (arg === "disable-validator") validate = false;
    else throw new FluxError(errno.EINVAL, `Invalid option: ${arg}`);
  }
  return { fluidStart_ms, allowRoot, validate };
}

/** [ingest] fluid-start. */
function configuredFluidStart_ms(config: JsonObject): number {
  const ingest = config["ingest"];
  const start_ms = isJsonObject(ingest) ? ingest["fluid-start"] : undefined;
  if (start_ms === undefined) return 0;
  if (typeof start_ms !== "number" || !Number.isSafeInteger(start_ms) || start_ms < 0 || start_ms >= 2 ** 40) {
    throw new FluxError(errno.EINVAL, "ingest.fluid-start must be a number of milliseconds below 2^40");
  }
  return start_ms;
}

/** [ingest.validator] disable. */
function isValidatorDisabled(config: JsonObject): boolean {
  const ingest = config["ingest"];
  const validator = isJsonObject(ingest) ? ingest["validator"] : undefined;
  return isJsonObject(validator) && validator["disable"] === true;
}
