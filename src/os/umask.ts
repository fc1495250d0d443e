// The file mode creation mask, for the time of one call.

/** Run `fn` (synchronous) under another umask and take the old one back. */
export function withUmask<T>(mask: number, fn: () => T): T {
  const before = process.umask(mask);
  try {
    return fn();
  } finally {
    process.umask(before);
  }
}
