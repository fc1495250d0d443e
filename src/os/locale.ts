// The locale of this process: whether what reads our text understands UTF-8.

/** True when this locale prints ƒ. */
export function localeIsUtf8(env: Readonly<Record<string, string | undefined>> = process.env): boolean {
  const locale = env["LC_ALL"] || env["LC_CTYPE"] || env["LANG"] || "";
  return /utf-?8/i.test(locale);
}
