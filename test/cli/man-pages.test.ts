// The manual pages as a whole: none is left out or leads nowhere, and lists of names are those of the sources.
import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { REGISTERED } from "../../src/broker/attributes.ts";
import { COMMANDS } from "../../src/cli/commands.ts";
import { MAN_PAGES } from "../../src/cli/man-pages.ts";

const ROOT = resolve(import.meta.dir, "../..");
const REFERENCE = /\bflux(?:-[A-Za-z]+)*\(\d\)/g;

const titleOf = (page: string): string => page.split("\n", 1)[0]?.replace("# ", "") ?? "";

function sources(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), "utf8"));
}

test("every file of docs/man is a page", () => {
  const files = readdirSync(join(ROOT, "docs/man")).map((name) => titleOf(readFileSync(join(ROOT, "docs/man", name), "utf8")));
  expect(files.filter((title) => !Object.values(MAN_PAGES).some((page) => titleOf(page) === title))).toEqual([]);
});

test("pages, and what sources say of them, refer to pages that there are", () => {
  const titles = new Set(Object.values(MAN_PAGES).map(titleOf));
  titles.add("flux-config(5)"); // the tables, all together
  const texts = [...Object.values(MAN_PAGES), ...sources("src")];
  const missing = texts.flatMap((text) => text.match(REFERENCE) ?? []).filter((name) => !titles.has(name));
  expect([...new Set(missing)]).toEqual([]);
});

test("`flux help help` lists every page that is not a command's", () => {
  const index = MAN_PAGES["help"] ?? "";
  const others = Object.entries(MAN_PAGES).filter(([name]) => COMMANDS[name] === undefined && name !== "flux");
  const missing = others.filter(([name, page]) => !index.includes(`- ${titleOf(page)}`) || !new RegExp(`\\b${name}\\b`).test(index));
  expect(missing.map(([name]) => name)).toEqual([]);
});

test("flux-broker-attributes(7) has every attribute, and whether it can be set", () => {
  const rows = [...(MAN_PAGES["broker-attributes"] ?? "").matchAll(/^\| `([^`]+)` \| ([-cr]{2}) \|/gm)].map(([, name, set]) => `${name} ${set}`);
  const expected = Object.entries(REGISTERED).map(([name, flags]) => {
    const atRuntime = flags.runtime === true && flags.immutable !== true;
    return `${name} ${flags.readonly ? "-" : "c"}${atRuntime ? "r" : "-"}`;
  });
  expect(rows.toSorted()).toEqual(expected.toSorted());
});

test("flux-environment(7) has every variable of Flux that the sources name", () => {
  const page = MAN_PAGES["environment"] ?? "";
  // Flags of requests in RFCs, constants, and beginnings of names.
  const others = ["FLUX_JOB_WAITABLE", "FLUX_JOB_NOVALIDATE", "FLUX_KVS_APPEND", "FLUX_SYMBOL", "FLUX_TS_VERSION", "FLUX_VERSION"];
  const named = sources("src").flatMap((text) => text.match(/\bFLUX_[A-Z0-9_]*[A-Z0-9]\b/g) ?? []);
  expect([...new Set(named)].filter((name) => !others.includes(name) && !new RegExp(`\\b${name}\\b`).test(page))).toEqual([]);
});
