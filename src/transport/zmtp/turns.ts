// Long pieces of work one per turn of the event loop, whatever connection they belong to: encrypting 10 MB takes
// milliseconds (tens of them without the native library), and other sockets and timers are to be served in between.

const jobs: (() => void)[] = [];
let armed = false;

/** Work on more bytes than this at once waits for a turn of its own. */
export const LARGE_BYTES = 256 * 1024;

/** Runs `job` in a turn of its own, after the jobs that were here before. A job handles its own errors. */
export function inOwnTurn(job: () => void): void {
  jobs.push(job);
  if (armed) return;
  armed = true;
  setImmediate(runOne);
}

function runOne(): void {
  const job = jobs.shift();
  armed = jobs.length > 0;
  if (armed) setImmediate(runOne);
  job?.();
}
