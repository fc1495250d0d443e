// job-ingest: takes jobs in. It checks who submits what, gives each job its id, stores it in the KVS and announces it to
// the job manager. Loaded on every rank, so that submissions are checked where they come in.
//
//   submit {J, urgency, flags} → {id}
//   getinfo → {timestamp}: milliseconds of the id generator, from which those of other ranks start
//
// On the way to its id a job goes through frobnicators and validators: pipeline.ts. Configuration and arguments:
// ingest-config.ts.
import type { Flux } from "../../client/flux.ts";
import { defineModule, type ModuleContext, type ModuleHooks, NOTHING_TO_DO } from "../../client/module.ts";
import { DEFERRED } from "../../client/request.ts";
import { allowUser } from "../../client/service.ts";
import type { LogLevel } from "../../client/log.ts";
import { FLAG } from "../../client/jobs.ts";
import { FluidGenerator, fluidTimestamp_ms } from "../../formats/fluid.ts";
import type { JsonObject } from "../../formats/json.ts";
import { jobid, uint, unpack } from "../../message/unpack.ts";
import type { Clock } from "../../os/clock.ts";
import { Batches } from "./batch.ts";
import { withoutEnvironment } from "./defaults.ts";
import { type IngestConfig, parseIngestConfig } from "./ingest-config.ts";
import { Pipeline } from "./pipeline.ts";
import { checkSubmission } from "./submission.ts";

export default defineModule({
  name: "job-ingest",
  async start(h, context): Promise<ModuleHooks | typeof NOTHING_TO_DO> {
    let ingest = parseIngestConfig(context.config, context.args);
    if (context.rank > ingest.generatorMax) {
      h.log(7, `job-ingest can't make job ids on ranks above ${ingest.generatorMax}: submissions go to a broker nearer to rank 0`);
      return NOTHING_TO_DO;
    }
    let pipeline = await createPipeline(h, context.clock, context.config, ingest);
    const fluids = await createGenerator(h, context, ingest.fluidStart_ms);
    const batches = new Batches(h, ingest.batchCount);
    await h.serve("job-ingest", {
      submit: allowUser((request) => {
        const submission = checkSubmission(request.payload, request, { owner: context.owner, allowRoot: ingest.allowRoot });
        const accept = (jobspec: JsonObject): void =>
          batches.add({ ...submission, jobspec: withoutEnvironment(jobspec), id: fluids.next(), t_submit: context.clock.now_s(), request });
        const jobspec = pipeline.process(submission, (submission.flags & FLAG.NOVALIDATE) === 0);
        if (jobspec instanceof Promise) jobspec.then(accept).catch((err: unknown) => request.fail(err));
        else accept(jobspec);
        return DEFERRED;
      }),
      getinfo: () => ({ timestamp: fluids.timestamp_ms }),
    });
    return {
      stats: () => ({ jobs: batches.jobs, batches: batches.batches, pipeline: pipeline.stats() }),
      /** The old configuration stays when the new one is wrong. */
      async reconfigure(config) {
        const next = parseIngestConfig(config, context.args);
        const made = await createPipeline(h, context.clock, config, next);
        pipeline.close();
        [ingest, pipeline] = [next, made];
        batches.setCount(next.batchCount);
      },
      stop() {
        batches.setCount(0);
        pipeline.close();
      },
    };
  },
});

async function createPipeline(h: Flux, clock: Clock, config: JsonObject, ingest: IngestConfig): Promise<Pipeline> {
  const { validator, frobnicator, buffer_bytes } = ingest;
  const uri = await h.optionalAttr("local-uri");
  const log = (level: LogLevel, text: string): void => h.log(level, text);
  const describe = (list: readonly string[]): string => (list.length === 0 ? "(null)" : list.join(","));
  log(7, `configuring validator with plugins=${describe(validator.plugins)}, args=${describe(validator.args)} (${validator.enabled ? "enabled" : "disabled"})`);
  return Pipeline.create({ config, validator, frobnicator, buffer_bytes, open: () => Promise.resolve(h), env: { ...process.env, ...(uri === undefined ? {} : { FLUX_URI: uri }) }, log, clock });
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
