// Templates of `flux bulksubmit`: "{}" and its kin stand for inputs.
//
//   {} {0} {1}          inputs in turn, or by their place; {seq}, {seq1}: the number of the job from 0 or 1; {cc}: see --cc
//   {.%} {0./} {.//}    without extension, base name, directory; {./%} base name without extension; {.NAME} by --define
//   {{…}}               is for the job shell and stays
import { basename, dirname, extname } from "node:path";
import { UsageError } from "./command.ts";

export type InputMethod = (input: string) => unknown;

export interface InputScope {
  readonly inputs: readonly string[];
  readonly methods: Readonly<Record<string, InputMethod>>;
  /** seq, seq1, cc. */
  readonly names: Readonly<Record<string, string>>;
}

const FIELD = /(\{\{[^]*?\}\})|\{([^{}]*)\}/g;

/** The text with its fields replaced. A field whose method gives a list makes several texts of it. Throws UsageError. */
export function fillTemplate(template: string, scope: InputScope): string[] {
  let next = 0;
  let texts = [""];
  let at = 0;
  const append = (words: readonly string[]): void => {
    const [first = "", ...rest] = words;
    // As in a shell, the text before joins the first of a list, and what follows the last.
    texts = [...texts.slice(0, -1), `${texts.at(-1) ?? ""}${first}`, ...rest];
  };
  for (const match of template.matchAll(FIELD)) {
    append([template.slice(at, match.index)]);
    at = match.index + match[0].length;
    const field = match[2];
    append(field === undefined ? [match[0]] : fieldWords(field, scope, () => next++, template));
  }
  append([template.slice(at)]);
  return texts;
}

function fieldWords(field: string, scope: InputScope, takeNext: () => number, template: string): string[] {
  const [path = "", spec = ""] = field.split(/:(.*)/s);
  const dot = path.indexOf(".");
  const name = dot < 0 ? path : path.slice(0, dot);
  const named = Object.hasOwn(scope.names, name) && dot < 0 ? scope.names[name] : undefined;
  if (named !== undefined) return [padded(named, spec)];
  if (!/^\d*$/.test(name)) throw new UsageError(`Invalid replacement string in command: '${template}'`);
  const input = scope.inputs[name === "" ? takeNext() : Number(name)];
  if (input === undefined) throw new UsageError(`Invalid replacement string in command: '${template}'`);
  const value = dot < 0 ? input : applyMethod(path.slice(dot + 1), input, scope.methods);
  return (Array.isArray(value) ? value : [value]).map((word) => padded(String(word), spec));
}

function applyMethod(method: string, input: string, methods: InputScope["methods"]): unknown {
  const extension = extname(input);
  const stem = extension === "" ? input : input.slice(0, -extension.length);
  if (method === "%") return stem;
  if (method === "/") return input.endsWith("/") ? "" : basename(input);
  if (method === "//") return input.includes("/") ? dirname(input) : "";
  if (method === "/%") return basename(stem);
  const own = Object.hasOwn(methods, method) ? methods[method] : undefined;
  if (own === undefined) throw new UsageError(`Unknown input string method '.${method}'`);
  try {
    return own(input);
  } catch (err) {
    throw new UsageError(`--define=${method}: ${err instanceof Error ? err.message : String(err)} (for input '${input}')`);
  }
}

/** {seq:03}, {:>8}: a width, filled from the left with zeros or spaces. */
function padded(text: string, spec: string): string {
  if (spec === "") return text;
  const match = /^([<>]?)(0?)(\d+)d?$/.exec(spec);
  if (match === null) throw new UsageError(`Invalid format specifier '${spec}'`);
  const [, align, zero, width] = match;
  if (align === "<") return text.padEnd(Number(width));
  return text.padStart(Number(width), zero === "0" ? "0" : " ");
}

/** What a --define may use beside JavaScript's own. */
const HELPERS = { int: (value: unknown) => Math.trunc(Number(value)), float: Number, str: String, len: (value: { readonly length: number }) => value.length } as const;

/** NAME=CODE: CODE is a JavaScript expression of the input, x. Throws UsageError. */
export function parseDefine(word: string): [name: string, method: InputMethod] {
  const equals = word.indexOf("=");
  if (equals < 1) throw new UsageError(`--define=${word}: expected NAME=CODE`);
  const name = word.slice(0, equals);
  try {
    // The user's own code, on the user's own command line.
    // oxlint-disable-next-line typescript/no-implied-eval, no-new-func
    const code = new Function("x", ...Object.keys(HELPERS), `"use strict"; return (${word.slice(equals + 1)}\n);`) as (...args: unknown[]) => unknown;
    return [name, (input) => code(input, ...Object.values(HELPERS))];
  } catch (err) {
    throw new UsageError(`--define=${word}: ${err instanceof Error ? err.message : String(err)}`);
  }
}

/** Inputs of a command line after ":::", "::::", and linked ones after ":::+", "::::+"; see splitInputs(). */
export interface InputLists {
  readonly command: readonly string[];
  /** One list of inputs for each job. */
  readonly combinations: readonly (readonly string[])[];
}

/** All combinations of the inputs of a command line. `read` gives the inputs of a file ("-": stdin). Throws UsageError. */
export function splitInputs(words: readonly string[], read: (path: string) => readonly string[]): InputLists {
  const lists: { readonly linked: boolean; readonly inputs: readonly string[] }[] = [];
  const command: string[] = [];
  for (let i = 0; i < words.length; ) {
    const word = words[i++] as string;
    if (!word.startsWith(":::")) {
      command.push(word);
      continue;
    }
    const given: string[] = [];
    while (i < words.length && words[i]?.startsWith(":::") !== true) given.push(words[i++] as string);
    if (word === ":::" || word === ":::+") lists.push({ linked: word.endsWith("+"), inputs: given });
    else if (word === "::::" || word === "::::+") {
      const [path] = given;
      if (given.length > 1) throw new UsageError("Multiple args not allowed after ::::");
      if (path === undefined) throw new UsageError(`a file is missing after ${word}`);
      lists.push({ linked: word.endsWith("+"), inputs: read(path) });
    } else throw new UsageError(`unknown input delimiter ${word}`);
  }
  if (lists.every(({ linked }) => linked)) lists.unshift({ linked: false, inputs: read("-") });
  return { command, combinations: combine(lists) };
}

function combine(lists: readonly { readonly linked: boolean; readonly inputs: readonly string[] }[]): string[][] {
  const product = lists
    .filter(({ linked, inputs }) => !linked && inputs.length > 0)
    .reduce<string[][]>((rows, { inputs }) => rows.flatMap((row) => inputs.map((input) => [...row, input])), [[]]);
  const any = lists.some(({ linked, inputs }) => !linked && inputs.length > 0);
  const rows = any ? product : [];
  for (const [index, { linked, inputs }] of lists.entries()) {
    if (linked && inputs.length > 0) for (const [n, row] of rows.entries()) row.splice(index, 0, inputs[n % inputs.length] as string);
  }
  return rows;
}
