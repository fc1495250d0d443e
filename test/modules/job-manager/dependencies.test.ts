import { expect, test } from "bun:test";
import { RESULT, STATE } from "../../../src/client/jobs.ts";
import type { JobId } from "../../../src/formats/fluid.ts";
import type { JsonObject } from "../../../src/formats/json.ts";
import { str } from "../../../src/message/unpack.ts";
import { Dependencies } from "../../../src/modules/job-manager/dependencies.ts";
import type { InactiveJob } from "../../../src/modules/job-manager/inactive.ts";
import { type Job, newJob } from "../../../src/modules/job-manager/job.ts";
import { Line } from "../../../src/modules/job-manager/line.ts";
import { NEW_JOB } from "../../../src/modules/job-manager/state.ts";
import { realClock } from "../../../src/os/clock.ts";

const MANY = 30_000;
/** What is quadratic takes several times as long for so many. */
const LINEAR_MS = 2000;

/** Dependencies of jobs that leave DEPEND as soon as they wait for nothing, as the job manager has it. */
function house(): { dependencies: Dependencies; add: (id: JobId, jobspec: JsonObject) => Job; end: (job: Job) => void; gone: JobId[] } {
  const active = new Map<JobId, Job>();
  const inactive = new Map<JobId, InactiveJob>();
  const jobspecs = new Map<JobId, JsonObject>();
  const gone: JobId[] = [];
  const dependencies = new Dependencies({
    clock: realClock,
    findActive: (id) => active.get(id),
    findInactive: (id) => inactive.get(id),
    post(job, name, { description }) {
      const before = job.facts.dependencies;
      const after = name === "dependency-add" ? [...before, str(description, "description")] : before.filter((other) => other !== description);
      job.facts = { ...job.facts, dependencies: after };
      if (name === "dependency-add" || after.length > 0) return;
      job.facts = { ...job.facts, state: STATE.SCHED };
      gone.push(job.id);
      dependencies.left(job);
    },
    raise: () => undefined,
  });
  return {
    dependencies,
    gone,
    add(id, jobspec) {
      const job = newJob(id, { ...NEW_JOB, state: STATE.DEPEND }, undefined, jobspec);
      active.set(id, job);
      jobspecs.set(id, jobspec);
      return job;
    },
    end(job) {
      active.delete(job.id);
      const ended = { id: job.id, userid: 0, t_submit: 0, t_clean: 1, result: RESULT.COMPLETED, allocated: true, started: true, excepted: false };
      inactive.set(job.id, ended);
      dependencies.ended(job, () => jobspecs.get(job.id) ?? {});
    },
  };
}

test("thousands of jobs that wait for one go on in time when it ends", () => {
  const { dependencies, add, end, gone } = house();
  const first = add(1n, {});
  for (let i = 2n; i < MANY; i++) {
    add(i, {});
    dependencies.add(i, { scheme: "afterany", value: "1" });
  }
  const begin_ms = performance.now();
  end(first);
  expect(performance.now() - begin_ms).toBeLessThan(LINEAR_MS);
  expect(gone.length).toBe(MANY - 2);
  expect(gone[0]).toBe(2n);
  expect(dependencies.list()).toEqual([]);
});

test("a job with several dependencies on one goes when the last is met, and is listed with those that are not", () => {
  const { dependencies, add, end, gone } = house();
  const first = add(1n, {});
  add(2n, {});
  for (const scheme of ["afterstart", "afterany", "afterok"]) dependencies.add(2n, { scheme, value: "1" });
  dependencies.started(first);
  expect(dependencies.list()).toEqual([
    { id: 2n, depid: 1n, type: "after-finish", description: "after-finish=1" },
    { id: 2n, depid: 1n, type: "after-success", description: "after-success=1" },
  ]);
  expect(gone).toEqual([]);
  end(first);
  expect(gone).toEqual([2n]);
  expect(dependencies.list()).toEqual([]);
});

test("thousands of singletons of one name go one by one, in order, in time", () => {
  const { dependencies, add, end, gone } = house();
  const jobspec = { attributes: { system: { job: { name: "one" } } } };
  const jobs: Job[] = [];
  for (let i = 1n; i <= MANY; i++) {
    const job = add(i, jobspec);
    dependencies.add(i, { scheme: "singleton", value: "" });
    dependencies.accepted(job, jobspec);
    jobs.push(job);
  }
  const begin_ms = performance.now();
  for (const job of jobs) end(job);
  expect(performance.now() - begin_ms).toBeLessThan(LINEAR_MS);
  expect(gone).toEqual(jobs.slice(1).map(({ id }) => id));
});

test("whoever comes to a line that was empty is served, too", () => {
  const line = new Line<string>();
  expect(line.takeFirst()).toBeUndefined();
  for (const item of ["a", "b", "c"]) line.add(item);
  line.delete("b");
  expect([line.takeFirst(), line.takeFirst(), line.takeFirst()]).toEqual(["a", "c", undefined]);
  line.add("d");
  expect([line.size, line.takeFirst(), line.size]).toEqual([1, "d", 0]);
});
