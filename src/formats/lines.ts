// Cutting a task's output where events may end: after whole lines, or anywhere between characters.

/** A line longer than this is passed on in pieces. */
const LINE_MAX_BYTES = 1 << 20;
const NEWLINE = 10;

export interface Splitter {
  push(chunk: Uint8Array): void;
  /** The stream ended: passes on what is left. */
  end(): void;
}

/**
 * Passes on each whole line, and keeps the piece after the last newline for the next. One by one, because readers put a
 * task's label before each event of its output and not before each line. Of chunks larger than `bulk_bytes` all whole
 * lines are passed on at once.
 */
export function splitLines(emit: (data: Uint8Array) => void, bulk_bytes = Infinity): Splitter {
  let rest: Uint8Array[] = [];
  let rest_bytes = 0;
  const flush = (tail: Uint8Array): void => {
    const data = rest.length === 0 ? tail : Buffer.concat([...rest, tail]);
    rest = [];
    rest_bytes = 0;
    if (data.length > 0) emit(data);
  };
  return {
    push(chunk) {
      let start = 0;
      const next = chunk.length > bulk_bytes ? chunk.lastIndexOf(NEWLINE) : chunk.indexOf(NEWLINE);
      for (let end = next; end >= 0; end = chunk.indexOf(NEWLINE, start)) {
        flush(chunk.subarray(start, end + 1));
        start = end + 1;
      }
      if (start === chunk.length) return;
      rest.push(chunk.subarray(start));
      rest_bytes += chunk.length - start;
      if (rest_bytes > LINE_MAX_BYTES) flush(new Uint8Array(0));
    },
    end: () => flush(new Uint8Array(0)),
  };
}

/** Passes every chunk on, but keeps an unfinished UTF-8 character at its end for the next. */
export function splitCharacters(emit: (data: Uint8Array) => void): Splitter {
  let rest: Uint8Array | undefined;
  return {
    push(chunk) {
      const data = rest === undefined ? chunk : Buffer.concat([rest, chunk]);
      const cut = data.length - unfinished(data);
      rest = cut < data.length ? data.subarray(cut) : undefined;
      if (cut > 0) emit(data.subarray(0, cut));
    },
    end() {
      if (rest !== undefined) emit(rest);
      rest = undefined;
    },
  };
}

/** Bytes at the end that begin a UTF-8 character without completing it: 0 to 3. */
function unfinished(data: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, data.length); back++) {
    const byte = data[data.length - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const size = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return size > back ? back : 0;
  }
  return 0;
}
