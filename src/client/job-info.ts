// Flags of the service "job-info" (modules/job-info/job-info.ts).

/** Of job-info.lookup: R and jobspec as objects instead of text, and with the updates of the eventlog. */
export const JOB_LOOKUP = { JSON_DECODE: 1, CURRENT: 2 } as const;

/** Of job-info.eventlog-watch: wait for the eventlog to come into being; an empty response parts old entries from new ones. */
export const EVENTLOG_WATCH = { WAITCREATE: 1, SENTINEL: 2 } as const;
