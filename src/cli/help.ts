// flux help: the list of commands, or the manual page of one (docs/man/, built in). A command without a page shows its
// options. On a terminal, $PAGER shows the page.
import { commandList } from "./command-list.ts";
import { COMMANDS } from "./commands.ts";
import { defineCommand, runCommand, UsageError } from "./command.ts";
import { COLOR, print, wantsColor, wrongUsage } from "./output.ts";
import { isTerminal } from "../os/terminal.ts";

const PAGER = "less -FRX";

export default defineCommand({
  name: "help",
  style: "getopt",
  summary: "show the list of commands, or the manual page of one",
  usage: "[COMMAND]",
  async run({ args }) {
    if (args.length > 1) throw wrongUsage("flux help [COMMAND]");
    const name = args[0]?.replace(/^flux-/, "").replace(/\(\d\)$/, "");
    if (name === undefined) {
      print(commandList());
      return 0;
    }
    const { MAN_PAGES } = await import("./man-pages.ts");
    const page = Object.hasOwn(MAN_PAGES, name) ? MAN_PAGES[name] : undefined;
    if (page !== undefined) {
      const text = renderPage(page, wantsColor(undefined));
      if (!isTerminal(1) || !(await showInPager(text))) print(text);
      return 0;
    }
    const entry = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
    if (entry === undefined) throw new UsageError(`No manual entry for '${name}': see 'flux help'`);
    return runCommand((await entry.load()).default, ["--help"]);
  },
});

/** Markdown of the kind our pages have, as text: headings in capitals, code indented, tables aligned, no marks of emphasis. */
export function renderPage(markdown: string, color: boolean): string {
  const bold = (text: string): string => (color ? `${COLOR.bold}${text}${COLOR.reset}` : text);
  const emphasis = (text: string): string =>
    text.replace(/\*\*([^*]+)\*\*/g, (_, word: string) => bold(word)).replace(/`([^`]+)`/g, (_, word: string) => bold(word));
  const lines: string[] = [];
  let isCode = false;
  let table: string[][] = [];
  for (const line of [...markdown.trimEnd().split("\n"), ""]) {
    if (!isCode && line.startsWith("| ")) {
      table.push(line.slice(2, line.lastIndexOf("|")).split(" | ").map((cell) => cell.trim()));
      continue;
    }
    lines.push(...tableLines(table).map(emphasis));
    table = [];
    if (line.startsWith("```")) isCode = !isCode;
    else if (isCode) lines.push(line === "" ? "" : `        ${line}`);
    else if (/^#+ /.test(line)) lines.push(bold(line.replace(/^#+ /, "").replace(/^[a-z][^(]*$/i, (title) => title.toUpperCase())));
    else if (line === "") lines.push("");
    else lines.push(`    ${emphasis(line.replace(/^- /, ""))}`);
  }
  return lines.slice(0, -1).join("\n");
}

/** A first cell that is long has a line of its own. */
const CELL_MAX = 24;

/** Rows of a table: the first column as wide as its texts, the line under the titles left out. */
function tableLines(rows: readonly (readonly string[])[]): string[] {
  const shown = rows.filter((cells) => cells.some((cell) => /[^-\s]/.test(cell)));
  const width = (text: string): number => text.replaceAll("`", "").length;
  const first = Math.min(CELL_MAX, Math.max(0, ...shown.map(([cell = ""]) => width(cell))));
  return shown.flatMap(([cell = "", ...others]) => {
    const text = others.join("  ");
    if (text === "") return [`    ${cell}`];
    if (width(cell) > first) return [`    ${cell}`, `    ${" ".repeat(first)}  ${text}`];
    return [`    ${cell}${" ".repeat(first - width(cell))}  ${text}`];
  });
}

/** False when there is no pager to show it. */
async function showInPager(text: string): Promise<boolean> {
  const pager = process.env["PAGER"] ?? PAGER;
  if (pager === "" || pager === "cat") return false;
  const child = Bun.spawn(["/bin/sh", "-c", pager], { stdin: "pipe", stdout: "inherit", stderr: "ignore" });
  try {
    await child.stdin.write(`${text}\n`);
    await child.stdin.end();
  } catch {
    // The reader left before the end of the page, or there is no such program: its exit code tells.
  }
  return (await child.exited) !== 127;
}
