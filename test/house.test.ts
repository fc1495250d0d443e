// The house keeps its order: a folder of src imports only from folders above it in this list (docs/architecture.md).
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

const ORDER = ["formats", "message", "os", "transport", "client", "pmi", "shell", "modules", "broker", "cli"];
const SRC = resolve(import.meta.dir, "../src");

function sourceFiles(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return sourceFiles(path);
    return path.endsWith(".ts") ? [path] : [];
  });
}

/** Top folder of src that a file is in; "" for src itself. */
function folderOf(path: string): string {
  const [first = "", second] = relative(SRC, path).split("/");
  return second === undefined ? "" : first;
}

function importsOf(path: string): string[] {
  const text = readFileSync(path, "utf8").replace(/^\s*\/\/.*$/gm, "");
  return [...text.matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)"/g)].map((match) => resolve(dirname(path), match[1] as string));
}

test("a folder imports only from folders above it", () => {
  const wrong: string[] = [];
  for (const file of sourceFiles(SRC)) {
    const from = ORDER.indexOf(folderOf(file));
    if (from < 0) continue;
    for (const imported of importsOf(file)) {
      const to = ORDER.indexOf(folderOf(imported));
      if (to > from) wrong.push(`${relative(SRC, file)} imports ${relative(SRC, imported)}`);
    }
  }
  expect(wrong).toEqual([]);
});

test("a module imports from no other module", () => {
  const wrong: string[] = [];
  for (const file of sourceFiles(join(SRC, "modules"))) {
    const [, name] = relative(SRC, file).split("/");
    for (const imported of importsOf(file)) {
      const [folder, other] = relative(SRC, imported).split("/");
      if (folder === "modules" && other !== name) wrong.push(`${relative(SRC, file)} imports ${relative(SRC, imported)}`);
    }
  }
  expect(wrong).toEqual([]);
});

test("only os/terminal.ts says what is a terminal: the runtime's way would cost each command a tenth of its time", () => {
  const slow = sourceFiles(SRC).filter((file) => /node:tty|\.isTTY/.test(readFileSync(file, "utf8").replace(/^\s*\/\/.*$/gm, "")));
  expect(slow.map((file) => relative(SRC, file))).toEqual([]);
});

test("every folder of src is in the list", () => {
  const folders = readdirSync(SRC, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  expect(folders.map((entry) => entry.name).sort()).toEqual([...ORDER].sort());
});

test("links between documents lead somewhere", () => {
  const root = resolve(import.meta.dir, "..");
  const documents = ["README.md", ...readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md")).map((name) => join("docs", name))];
  const broken: string[] = [];
  for (const document of documents) {
    const text = readFileSync(join(root, document), "utf8");
    for (const match of text.matchAll(/\]\((?!https?:|#)([^)#]+)/g)) {
      const target = resolve(root, dirname(document), match[1] as string);
      if (!existsSync(target)) broken.push(`${document}: ${match[1]}`);
    }
  }
  expect(broken).toEqual([]);
});
