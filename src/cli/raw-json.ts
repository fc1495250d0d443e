// JSON for people, with each number as the service wrote it: 2.0 stays 2.0, a job id keeps all its digits.

/** A number as its text. */
export class RawNumber {
  constructor(readonly text: string) {}
  get isReal(): boolean {
    return /[.eE]/.test(this.text);
  }
}

export type RawJson = null | boolean | string | RawNumber | readonly RawJson[] | { readonly [key: string]: RawJson };

type Reviver = (key: string, value: unknown, context: { source?: string }) => unknown;

/** Throws SyntaxError. */
export function parseRawJson(text: string): RawJson {
  const parse = JSON.parse as (text: string, reviver: Reviver) => RawJson;
  return parse(text, (_key, value, context) => (typeof value === "number" ? new RawNumber(context.source ?? String(value)) : value));
}

/** The member at a path of names separated by periods; undefined when there is none. Names may contain periods. */
export function memberOf(value: RawJson, path: string): RawJson | undefined {
  if (value === null || typeof value !== "object" || value instanceof RawNumber || Array.isArray(value)) return undefined;
  const object = value as { readonly [key: string]: RawJson };
  if (Object.hasOwn(object, path)) return object[path];
  for (let dot = path.indexOf("."); dot >= 0; dot = path.indexOf(".", dot + 1)) {
    const head = path.slice(0, dot);
    const found = Object.hasOwn(object, head) ? memberOf(object[head] as RawJson, path.slice(dot + 1)) : undefined;
    if (found !== undefined) return found;
  }
  return undefined;
}

/** JSON text; `indent` blanks a level, or everything on one line for 0. */
export function formatRawJson(value: RawJson, indent: number = 0, level: number = 0): string {
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (value instanceof RawNumber) return value.text;
  const [open, close, items] = Array.isArray(value)
    ? ["[", "]", value.map((item: RawJson) => formatRawJson(item, indent, level + 1))]
    : ["{", "}", Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}:${indent > 0 ? " " : ""}${formatRawJson(item, indent, level + 1)}`)];
  if (items.length === 0) return open + close;
  if (indent === 0) return `${open}${items.join(",")}${close}`;
  const pad = " ".repeat(indent * (level + 1));
  return `${open}\n${pad}${items.join(`,\n${pad}`)}\n${" ".repeat(indent * level)}${close}`;
}
