// Keys of the KVS: names joined by ".". Doubled, leading and trailing dots mean nothing; "." is the root.

/** "a.b" of ".a..b."; "." of "." and "..". "" stays "". */
export function normalizeKey(key: string): string {
  if (key.length > 0 && key[0] !== "." && key[key.length - 1] !== "." && !key.includes("..")) return key;
  const names = key.split(".").filter((name) => name !== "");
  return names.length > 0 ? names.join(".") : key === "" ? "" : ".";
}

/** Names of a normalized key; none for the root. */
export function namesOf(key: string): string[] {
  return key === "." ? [] : key.split(".");
}
