// A checker of job eventlogs that shares nothing with the job manager: what RFC 21 says about the order of events.
import type { EventlogEntry } from "../../../src/formats/eventlog.ts";

/**
 * What is wrong with an eventlog: "" when it obeys RFC 21. `isOver`: the job must have reached INACTIVE. `crashes_s`: when the
 * instance crashed; shells that went with it have no finish event.
 */
export function checkEventlog(events: readonly EventlogEntry[], isOver: boolean, crashes_s: readonly number[] = []): string {
  let state = "NEW";
  let resources = false;
  let started = false;
  let running = false;
  const dependencies = new Set<string>();
  let last = 0;
  for (const [i, { name, context, timestamp }] of events.entries()) {
    const wrong = (why: string): string => `event ${i} '${name}' in ${state}: ${why}`;
    if (state === "INACTIVE") return wrong("after the end");
    if (i === 0 && name !== "submit") return wrong("the first event must be submit");
    if (i > 1 && timestamp < last) return wrong(`time goes back from ${last} to ${timestamp}`);
    if (crashes_s.some((crash_s) => crash_s >= last && crash_s <= timestamp)) running = false;
    last = timestamp;
    const fatal = name === "exception" && context?.["severity"] === 0;
    switch (name) {
      case "submit":
        if (i !== 0) return wrong("submitted twice");
        for (const key of ["userid", "urgency", "flags", "version"]) if (typeof context?.[key] !== "number") return wrong(`no ${key}`);
        break;
      case "validate":
        if (state !== "NEW") return wrong("not new");
        state = "DEPEND";
        break;
      case "dependency-add":
        dependencies.add(JSON.stringify(context?.["description"]));
        break;
      case "dependency-remove":
        if (!dependencies.delete(JSON.stringify(context?.["description"]))) return wrong("there is no such dependency");
        break;
      case "depend":
        if (state !== "DEPEND") return wrong("not in DEPEND");
        if (dependencies.size > 0) return wrong("dependencies are left");
        state = "PRIORITY";
        break;
      case "priority":
        if (state !== "PRIORITY" && state !== "SCHED") return wrong("no priority now");
        if (typeof context?.["priority"] !== "number") return wrong("no priority");
        state = "SCHED";
        break;
      case "urgency":
      case "jobspec-update":
      case "flux-restart":
        if (state === "SCHED") state = "PRIORITY";
        break;
      case "alloc":
        if (state !== "SCHED" || resources) return wrong("allocated out of turn");
        resources = true;
        state = "RUN";
        break;
      case "start":
        if (!resources || started) return wrong("started out of turn");
        started = running = true;
        break;
      case "finish":
        if (!resources) return wrong("finished without resources");
        running = false;
        if (state === "RUN") state = "CLEANUP";
        break;
      case "release":
        if (!resources) return wrong("released without resources");
        break;
      case "free":
        if (state !== "CLEANUP" || !resources || running) return wrong("freed out of turn");
        resources = false;
        break;
      case "clean":
        if (state !== "CLEANUP" || resources) return wrong("cleaned out of turn");
        state = "INACTIVE";
        break;
      default:
        if (fatal) {
          if (state === "NEW") return wrong("a fatal exception in NEW");
          state = "CLEANUP";
        }
    }
  }
  return isOver && state !== "INACTIVE" ? `the job ends in ${state}` : "";
}
