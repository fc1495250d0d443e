// Args: what jobtap callbacks are told of a job.
import type { JobtapArgs } from "../../../client/jobtap.ts";
import { type Job, jobspecOf } from "../job.ts";

/** What callbacks are told of a job. The jobspec is decoded when somebody looks at it. */
export function argsOf(topic: string, job: Job, more: Partial<JobtapArgs> = {}): JobtapArgs {
  const { userid, urgency, state, priority, t_submit, R, end } = job.facts;
  const args: JobtapArgs = {
    topic, id: job.id, userid, urgency, state, priority, t_submit, R,
    end_event: end,
    get jobspec() {
      return jobspecOf(job);
    },
  };
  return Object.defineProperties(args, Object.getOwnPropertyDescriptors(more));
}
