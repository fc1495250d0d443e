// Constraint query syntax (RFC 35): "host:foo[1-3] and (gpu|-debug)" to the JSON of RFC 31.

import { FormatError } from "./error.ts";
import type { JsonObject } from "./json.ts";

export interface QuerySyntax {
  /** Operator of a term without one; without it every term needs its own. */
  readonly defaultOperator?: string;
  /** Other names of operators. */
  readonly aliases?: Readonly<Record<string, string>>;
  /** Operators whose operand is a list, and what separates it. */
  readonly split?: Readonly<Record<string, string>>;
  /** Operators whose terms are joined into one when both must hold. */
  readonly combine?: readonly string[];
}

/** The syntax of --requires. */
export const REQUIRES_SYNTAX: QuerySyntax = {
  defaultOperator: "properties",
  aliases: { host: "hostlist", hosts: "hostlist", rank: "ranks" },
  split: { properties: "," },
  combine: ["properties"],
};

type Kind = "not" | "and" | "or" | "negate" | "(" | ")" | "term";
interface Token {
  readonly kind: Kind;
  readonly text: string;
  readonly at: number;
}
type Expression = Record<string, (string | JsonObject)[]>;

const WHAT = "constraint query";
const MAX_DEPTH = 64;
const MAX_CHARS = 1 << 20;
const LEXEMES: readonly (readonly [Kind, RegExp])[] = [
  ["negate", /-/y],
  ["not", /not\b/y],
  ["and", /&{1,2}|and\b/y],
  ["or", /\|{1,2}|or\b/y],
  ["(", /\(/y],
  [")", /\)/y],
  ["term", /[^()|&\s"']+/y],
];

function lexeme(text: string, at: number): Token {
  for (const [kind, pattern] of LEXEMES) {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match) return { kind, text: match[0], at };
  }
  throw new FormatError(WHAT, text, "unexpected character", at);
}

/** A term that ends in a colon goes on in the next one, so that `op:"quoted text"` is one term. */
function tokens(text: string): Token[] {
  const result: Token[] = [];
  let pending: Token | undefined;
  for (let at = 0; at < text.length;) {
    const char = text[at] ?? "";
    if (/\s/.test(char)) {
      at++;
      continue;
    }
    let token: Token;
    if (char === '"' || char === "'") {
      const end = text.indexOf(char, at + 1);
      if (end < 0) throw new FormatError(WHAT, text, `Unclosed quote ${char}`, at);
      token = { kind: "term", text: text.slice(at + 1, end), at };
      at = end + 1;
    } else {
      token = lexeme(text, at);
      at += token.text.length;
    }
    if (token.kind === "term" && pending) {
      token = { kind: "term", text: pending.text + token.text, at: pending.at };
      pending = undefined;
    } else if (token.kind === "term" && token.text.endsWith(":")) {
      pending = token;
      continue;
    } else if (pending) break;
    result.push(token);
  }
  if (pending) throw new FormatError(WHAT, text, `Missing argument to token '${pending.text}'`, pending.at);
  return result;
}

class Parser {
  readonly #text: string;
  readonly #syntax: QuerySyntax;
  readonly #tokens: readonly Token[];
  #at = 0;
  #depth = 0;

  constructor(text: string, syntax: QuerySyntax) {
    this.#text = text;
    this.#syntax = syntax;
    this.#tokens = tokens(text);
  }

  #accept(kind: Kind): Token | undefined {
    const token = this.#tokens[this.#at];
    if (token?.kind !== kind) return undefined;
    this.#at++;
    return token;
  }

  whole(): Expression {
    const result = this.#or();
    const extra = this.#tokens[this.#at];
    if (extra) {
      throw new FormatError(
        WHAT,
        this.#text,
        extra.kind === ")" ? "Mismatched parentheses" : `Invalid token '${extra.text}'`,
        extra.at,
      );
    }
    return result;
  }

  #or(): Expression {
    let left = this.#and();
    while (this.#accept("or")) {
      const right = this.#and();
      const alternatives = left["or"];
      if (alternatives) alternatives.push(right);
      else left = { or: [left, right] };
    }
    return left;
  }

  #and(): Expression {
    let left = this.#unary();
    for (;;) {
      const explicit = this.#accept("and");
      const next = this.#tokens[this.#at]?.kind;
      if (!explicit && (next === undefined || next === "or" || next === ")")) return left;
      left = this.#join(left, this.#unary());
    }
  }

  #join(left: Expression, right: Expression): Expression {
    const all = left["and"];
    if (all) {
      all.push(right);
      return left;
    }
    const operator = Object.keys(left)[0] ?? "";
    const mine = left[operator];
    const its = right[operator];
    if (mine && its && this.#syntax.combine?.includes(operator) === true) return { [operator]: [...mine, ...its] };
    return { and: [left, right] };
  }

  #unary(): Expression {
    if (++this.#depth > MAX_DEPTH)
      throw new FormatError(WHAT, this.#text, `more than ${MAX_DEPTH} expressions inside each other`);
    const result = this.#operand();
    this.#depth--;
    return result;
  }

  #operand(): Expression {
    if (this.#accept("not")) return { not: [this.#unary()] };
    const open = this.#accept("(");
    if (open) {
      const inner = this.#or();
      if (!this.#accept(")")) throw new FormatError(WHAT, this.#text, "Unclosed parenthesis", open.at);
      return inner;
    }
    const negated = this.#accept("negate");
    const token = this.#accept("term");
    if (token) return negated ? { not: [this.#term(token)] } : this.#term(token);
    const found = this.#tokens[this.#at];
    if (!found) throw new FormatError(WHAT, this.#text, "Unexpected end of input");
    throw new FormatError(WHAT, this.#text, `Invalid token '${found.text}'`, found.at);
  }

  #term({ text, at }: Token): Expression {
    const { defaultOperator, aliases = {}, split = {} } = this.#syntax;
    const colon = text.indexOf(":");
    if (colon < 0 && defaultOperator === undefined)
      throw new FormatError(WHAT, this.#text, `Missing required operator in "${text}"`, at);
    const name = colon < 0 ? (defaultOperator ?? "") : text.slice(0, colon);
    const operator = Object.hasOwn(aliases, name) ? (aliases[name] ?? name) : name;
    const operand = text.slice(colon + 1);
    const illegal = /[^\w.+@-]/.exec(operator);
    if (illegal || operator === "")
      throw new FormatError(WHAT, this.#text, `invalid character '${illegal?.[0] ?? ":"}' in operator '${operator}:'`, at);
    const separator = Object.hasOwn(split, operator) ? split[operator] : undefined;
    return { [operator]: separator === undefined ? [operand] : operand.split(separator) };
  }
}

/** Query to constraint. Operators are not checked: that is for who evaluates them. Throws FormatError with the position. */
export function parseConstraintQuery(text: string, syntax: QuerySyntax = REQUIRES_SYNTAX): JsonObject {
  if (text.length > MAX_CHARS) throw new FormatError(WHAT, text, `it is longer than ${MAX_CHARS} characters`);
  return new Parser(text, syntax).whole();
}
