// Sizes with a unit, as options and messages have them: "10", "1.5K", "10M", "1G". A unit is a power of 1024.

const UNITS = ["", "K", "M", "G", "T", "P", "E"] as const;

/** Bytes; undefined for what is no size. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?(?:e\d+)?)([KMGTPE]?)$/i.exec(text.trim());
  if (match === null) return undefined;
  return Math.floor(Number(match[1]) * 1024 ** UNITS.indexOf((match[2] ?? "").toUpperCase() as (typeof UNITS)[number]));
}

/** "10M", "1.5K": at most eight digits. */
export function formatSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number(value.toPrecision(8))}${UNITS[unit]}`;
}
