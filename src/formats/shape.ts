// Shape (RFC 46): the resources of a jobspec on one line: "slot=10/[memory=2+{unit:GB};core]".

import { FormatError } from "./error.ts";
import type { JobspecResource } from "./jobspec.ts";
import type { Json } from "./json.ts";
import { parseResourceCount } from "./resource-range.ts";

const WHAT = "shape";
const MAX_DEPTH = 32;
const MAX_CHARS = 64 * 1024;
const DEFAULT_LABEL = "default";

type Vertex = JobspecResource & Record<string, unknown>;

class Parser {
  readonly #text: string;
  #at = 0;
  readonly #unlabelled: Vertex[] = [];
  #slots = 0;

  constructor(text: string) {
    this.#text = text;
  }

  #fail(problem: string, at = this.#at): never {
    throw new FormatError(WHAT, this.#text, problem, at);
  }

  #accept(char: string): boolean {
    if (this.#text[this.#at] !== char) return false;
    this.#at++;
    return true;
  }

  #expect(char: string): void {
    if (!this.#accept(char)) this.#fail(`expected "${char}"`);
  }

  whole(): JobspecResource[] {
    const result = this.#list(0);
    if (this.#at < this.#text.length) this.#fail("unexpected character");
    if (this.#unlabelled.length > 0 && this.#slots > 1) this.#fail("every slot needs a label when there is more than one");
    return result;
  }

  #list(depth: number): JobspecResource[] {
    if (depth > MAX_DEPTH) this.#fail(`more than ${MAX_DEPTH} levels`);
    if (!this.#accept("[")) return [this.#vertex(depth)];
    const vertices = [this.#vertex(depth)];
    while (this.#accept(";")) vertices.push(this.#vertex(depth));
    this.#expect("]");
    return vertices;
  }

  #vertex(depth: number): JobspecResource {
    const start = this.#at;
    const type = this.#string("a resource type");
    const vertex: Vertex = { type, count: this.#accept("=") ? this.#count() : 1 };
    if (type === "slot") this.#slotLabel(vertex);
    else if (this.#accept("{") && !this.#accept("}")) this.#items(vertex);
    if (this.#accept("/")) vertex.with = this.#list(depth + 1);
    else if (type === "slot") this.#fail("a slot needs resources: slot/…", start);
    return vertex;
  }

  #slotLabel(vertex: Vertex): void {
    this.#slots++;
    if (!this.#accept("{")) {
      vertex.label = DEFAULT_LABEL;
      this.#unlabelled.push(vertex);
      return;
    }
    vertex.label = this.#string("the label of the slot");
    if (this.#accept(",")) this.#items(vertex);
    else this.#expect("}");
  }

  #count(): JobspecResource["count"] {
    const start = this.#at;
    const body = /^(?:\[[^\]]*\]|[\d,+\-:*^]+)/.exec(this.#text.slice(start))?.[0];
    if (body === undefined) this.#fail("expected a count");
    this.#at += body.length;
    try {
      return parseResourceCount(body);
    } catch (cause) {
      if (cause instanceof FormatError) this.#fail(cause.message, start);
      throw cause;
    }
  }

  /** `key:value,+key,-key}` into `target`, up to and with the closing brace. */
  #items(target: Record<string, unknown>): void {
    do {
      const sign = this.#accept("+") ? true : this.#accept("-") ? false : undefined;
      const start = this.#at;
      const name = this.#string("a key");
      const key = name === "x" ? "exclusive" : name;
      if (Object.hasOwn(target, key) || key === "__proto__") this.#fail(`"${key}" is set twice`, start);
      if (sign === undefined && this.#accept(":")) target[key] = this.#value();
      else target[key] = sign ?? true;
    } while (this.#accept(","));
    this.#expect("}");
  }

  #string(what: string): string {
    if (this.#text[this.#at] === '"') return this.#json(/^"(?:[^"\\]|\\.)*"/, what) as string;
    const word = /^[^\s"[\]{};,/=:+-][^\s"[\]{};,/=:]*/.exec(this.#text.slice(this.#at))?.[0];
    if (word === undefined) this.#fail(`expected ${what}`);
    this.#at += word.length;
    return word;
  }

  #json(pattern: RegExp, what: string): Json {
    const start = this.#at;
    const body = pattern.exec(this.#text.slice(start))?.[0];
    if (body === undefined) this.#fail(`expected ${what}`);
    this.#at += body.length;
    try {
      return JSON.parse(body) as Json;
    } catch {
      return this.#fail(`${what} is not JSON`, start);
    }
  }

  #value(): Json {
    const char = this.#text[this.#at];
    if (char === '"') return this.#json(/^"(?:[^"\\]|\\.)*"/, "a string");
    if (this.#accept("{")) {
      const object: Record<string, Json> = {};
      if (!this.#accept("}")) this.#items(object);
      return object;
    }
    if (this.#accept("[")) {
      const list: Json[] = [];
      if (this.#accept("]")) return list;
      do list.push(this.#value());
      while (this.#accept(","));
      this.#expect("]");
      return list;
    }
    const word = /^[^\s"[\]{},]+/.exec(this.#text.slice(this.#at))?.[0];
    if (word === undefined) this.#fail("expected a value");
    this.#at += word.length;
    if (word === "true" || word === "false") return word === "true";
    if (word === "null") return null;
    return /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/.test(word) ? Number(word) : word;
  }
}

/** The resources list of a jobspec. Throws FormatError with the position. */
export function parseShape(text: string): JobspecResource[] {
  if (text.length > MAX_CHARS) throw new FormatError(WHAT, text, `it is longer than ${MAX_CHARS} characters`);
  return new Parser(text).whole();
}
