// Names that somebody who has mistyped one may have meant.

const SUGGESTIONS_MAX = 3;

/** Those that begin with `name`, else those that differ least, if by little; at most three. */
export function similarNames(name: string, all: readonly string[]): string[] {
  const longer = all.filter((other) => other.startsWith(name));
  if (longer.length > 0) return longer.slice(0, SUGGESTIONS_MAX);
  const distances = all.map((other) => distance(name, other));
  const least = Math.min(...distances);
  return least > Math.max(2, name.length / 4) ? [] : all.filter((_, i) => distances[i] === least).slice(0, SUGGESTIONS_MAX);
}

/** How many letters must be changed, added or left out. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) next.push(Math.min((row[j] ?? 0) + (a[i] === b[j] ? 0 : 1), (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    row = next;
  }
  return row.at(-1) ?? 0;
}
