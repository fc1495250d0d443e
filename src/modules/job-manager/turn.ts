// One turn of the event loop: what has piled up during it is done once, at its end.

/** Calls `end` once, after everything that is happening now, however often the returned function was called. */
export function createTurn(end: () => void): () => void {
  let scheduled = false;
  return () => {
    if (scheduled) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      end();
    });
  };
}

/** Resolves in a later turn: long work lets others run between its slices. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}
