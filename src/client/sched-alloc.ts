/** Types of a response to sched.alloc, between job-manager and a scheduler (RFC 27). */
export const ALLOC = { SUCCESS: 0, ANNOTATE: 1, DENY: 2, CANCEL: 3 } as const;
