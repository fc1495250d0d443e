// One attribute of a job's jobspec as it is now, updates applied.
import type { Flux } from "../../client/flux.ts";
import { JOB_LOOKUP } from "../../client/job-info.ts";
import type { JobId } from "../../formats/fluid.ts";
import { isJsonObject, type Json } from "../../formats/json.ts";

/** A member of attributes.system; undefined when the job has none. Rejects with FluxError ENOENT. */
export async function attributeOf(h: Flux, id: JobId, name: string): Promise<Json | undefined> {
  const { jobspec } = await h.rpc("job-info.lookup", { id, keys: ["jobspec"], flags: JOB_LOOKUP.JSON_DECODE | JOB_LOOKUP.CURRENT });
  const attributes = isJsonObject(jobspec) ? jobspec["attributes"] : undefined;
  const system = isJsonObject(attributes) ? attributes["system"] : undefined;
  return isJsonObject(system) ? system[name] : undefined;
}
