// What people see of a job that they run or attach to.
import { describe, expect, test } from "bun:test";
import { attachJob, type AttachOptions } from "../../src/cli/attachment.ts";
import { createJobWatcher } from "../../src/cli/job-watcher.ts";
import { defineModule } from "../../src/client/module.ts";
import { formatEventlogEntry } from "../../src/formats/eventlog.ts";
import { startCluster } from "../support/cluster.ts";
import { captureOutput, data, event, type Eventlogs, jobInfo, JOB_ID, ranJob } from "./fake-job.ts";

async function attach(logs: Eventlogs, options: Partial<AttachOptions> = {}): Promise<{ code: number; out: string; err: string }> {
  const cluster = await startCluster({ size: 1, modules: [jobInfo(logs)] });
  const sink = captureOutput();
  try {
    const code = await attachJob(cluster.open(0), JOB_ID, { shownId: "ƒtest", readOnly: true, sink, ...options });
    return { code, out: sink.out(), err: sink.err() };
  } finally {
    await cluster.stop();
  }
}

describe("attachment", () => {
  test("shows output and ends with the tasks' exit code", async () => {
    const logs = ranJob(3 << 8, [data(0.06, "stdout", "0", "hello\n"), data(0.07, "stderr", "1", "oh\n")]);
    expect(await attach(logs)).toEqual({ code: 3, out: "hello\n", err: expect.stringContaining("oh\n") });
    expect((await attach(logs)).err).toContain("flux-job: task(s) exited with exit code 3\n");
  });

  test("labels every line with its task", async () => {
    const { out } = await attach(ranJob(0, [data(0.06, "stdout", "1", "a\nb\n"), data(0.07, "stdout", "0", "no newline")]), { labelIo: true });
    expect(out).toBe("1: a\n1: b\n0: no newline");
  });

  test("shows events with the time since submission", async () => {
    const { err } = await attach(ranJob(0, []), { showEvents: true, showExec: true });
    expect(err).toContain('0.000s: job.submit {"userid":1000,"urgency":16,"flags":0,"version":1}\n');
    expect(err).toContain("0.035s: exec.init\n");
    expect(err).toContain("0.110s: job.clean\n");
  });

  test("shows the events of the execution where they belong among those of the job", async () => {
    const { err } = await attach(ranJob(0, []), { showEvents: true, showExec: true });
    const names = [...err.matchAll(/: (job|exec)\.(\w+)/g)].map(([, kind, name]) => `${kind}.${name}`);
    const place = (name: string): number => names.indexOf(name);
    expect([place("job.start") < place("exec.init"), place("exec.complete") < place("job.finish")]).toEqual([true, true]);
    expect(place("exec.complete")).toBeGreaterThan(0);
  });

  test("a job that never had an execution is no unknown job", async () => {
    const eventlog = [event(0, "submit"), event(0.1, "alloc"), event(0.5, "exception", { type: "exec", severity: 0, note: "no" }), event(0.6, "clean")];
    expect(await attach({ eventlog })).toEqual({ code: 1, out: "", err: "0.500s: job.exception ƒtest type=exec severity=0 no\n" });
    await expect(attach({})).rejects.toThrow("Failed to attach to ƒtest: No such job");
  });

  test("shows log messages of the shell, and leaves them out when asked to", async () => {
    const log = event(0.06, "log", { rank: 0, level: 2, component: "input.file", message: "no such file" });
    const redirect = event(0.06, "redirect", { stream: "stdout", rank: "[0-1]", path: "out.txt" });
    expect((await attach(ranJob(0, [log, redirect]))).err).toBe("0.060s: flux-shell[0]: FATAL: input.file: no such file\n[0-1]: stdout redirected to out.txt\n");
    expect((await attach(ranJob(0, [log, redirect]), { quiet: true })).err).toBe("");
  });

  test("a job that never ran exits with 1 and says why", async () => {
    const logs = {
      eventlog: [event(0, "submit"), event(0.5, "exception", { type: "alloc", severity: 0, note: "unsatisfiable", userid: 0 }), event(0.6, "clean")],
      "guest.exec.eventlog": [],
    };
    expect(await attach(logs)).toEqual({ code: 1, out: "", err: "0.500s: job.exception ƒtest type=alloc severity=0 unsatisfiable\n" });
  });

  test("the status line makes room for what is said, and doesn't come again for a job that never starts", async () => {
    const logs = {
      eventlog: [event(0, "submit"), event(0.1, "priority"), event(0.5, "exception", { type: "cancel", severity: 0, note: "no" }), event(0.6, "clean")],
      "guest.exec.eventlog": [],
    };
    const { err } = await attach(logs, { showStatus: true });
    const cleared = "\r\x1b[K";
    expect(err.replaceAll(cleared, "<cleared>")).toMatch(
      /^(\rflux-job: ƒtest \S[^\r]* 00:00:00\r)+<cleared>0.500s: job.exception ƒtest type=cancel severity=0 no\n<cleared>$/,
    );
  });

  test("a fatal exception is a failure even of tasks that succeeded", async () => {
    const logs = ranJob(0, []);
    const eventlog = [...(logs["eventlog"] ?? [])];
    eventlog.splice(5, 0, event(0.08, "exception", { type: "cancel", severity: 0, note: "enough" }));
    expect((await attach({ ...logs, eventlog })).code).toBe(1);
  });

  test("keeps to the end of the output that was there", async () => {
    const lines = Array.from({ length: 5 }, (_, i) => data(0.06, "stdout", "0", `${2 * i}\n${2 * i + 1}\n`));
    const { out } = await attach(ranJob(0, lines), { tail: 3 });
    expect(out).toBe("7\n8\n9\n");
  });

  test("an unknown job is named", async () => {
    await expect(attach({})).rejects.toThrow("Failed to attach to ƒtest: No such job");
  });
});

describe("watcher", () => {
  test("counts jobs, shows their output and keeps the highest exit code", async () => {
    const cluster = await startCluster({ size: 1, modules: [jobInfo(ranJob(7 << 8, [data(0.06, "stdout", "0", "hi\n")]))] });
    const sink = captureOutput();
    const watcher = createJobWatcher(cluster.open(0), { watch: true, labelIo: false, logEvents: false, logStatus: true });
    await watcher.add(JOB_ID, sink, "clean");
    expect(watcher.exitCode).toBe(7);
    expect(watcher.counts).toEqual({ total: 1, pending: 0, running: 0, complete: 0, failed: 1, done: 1 });
    expect(sink.out()).toBe("hi\n");
    expect(sink.err()).toMatch(/: 0\.090s: failed: status=1792\n$/);
    await cluster.stop();
  });

  test("follows so many jobs at a time, and the others when one of these is over", async () => {
    const jobs = Array.from({ length: 5 }, () => ({ followed: Promise.withResolvers<void>(), over: Promise.withResolvers<void>() }));
    let asked = 0;
    let open = 0;
    let most = 0;
    const held = defineModule({
      name: "job-info",
      async start(h) {
        await h.serve("job-info", {
          async *"eventlog-watch"() {
            most = Math.max(most, ++open);
            const job = jobs[asked++];
            job?.followed.resolve();
            await job?.over.promise;
            open--;
            for (const entry of ranJob(0, [])["eventlog"] ?? []) yield { event: formatEventlogEntry(entry) };
          },
        });
      },
    });
    const cluster = await startCluster({ size: 1, modules: [held] });
    const watcher = createJobWatcher(cluster.open(0), { watch: false, labelIo: false, logEvents: false, logStatus: false, followedMax: 2 });
    const all = jobs.map((_, i) => watcher.add(JOB_ID + BigInt(i), captureOutput(), "clean"));
    for (const [i, job] of jobs.entries()) {
      await jobs[Math.min(i + 1, jobs.length - 1)]?.followed.promise;
      job.over.resolve();
    }
    await Promise.all(all);
    expect(most).toBe(2);
    expect(watcher.counts).toEqual({ total: 5, pending: 0, running: 0, complete: 5, failed: 0, done: 5 });
    await cluster.stop();
  });
});
