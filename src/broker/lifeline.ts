// The lifeline: a socket that `flux start` holds the other end of. When it ends, the starter is gone, whatever killed it.
import { openFdStream } from "../os/fd-stream.ts";

export const LIFELINE_VARIABLE = "FLUX_LIFELINE_FD";

/** Calls `lost` when the starter is gone. Returns what lets go of it; nothing happens without a starter. */
export function watchLifeline(fd: string | undefined, lost: () => void): () => void {
  if (fd === undefined || !/^\d+$/.test(fd)) return () => {};
  let released = false;
  const stream = openFdStream(Number(fd), {
    onEnd() {
      if (!released) lost();
    },
  });
  return () => {
    released = true;
    stream.destroy();
  };
}
