// Globs: names with wildcards, as glob(7) describes them, without regard to dots and slashes.

/** What a glob means, for the whole name. `*` matches everything, dots and slashes too. Throws SyntaxError for an impossible range. */
export function globToRegExp(glob: string): RegExp {
  let source = "";
  for (let i = 0; i < glob.length; i++) {
    const char = glob[i] as string;
    if (char === "*") source += "[\\s\\S]*";
    else if (char === "?") source += "[\\s\\S]";
    else if (char === "[") {
      const end = glob.indexOf("]", glob[i + 1] === "!" || glob[i + 1] === "]" ? i + 3 : i + 2);
      if (end < 0) {
        source += "\\[";
        continue;
      }
      source += `[${glob.slice(i + 1, end).replace(/\\/g, "\\\\").replace(/^!/, "^")}]`;
      i = end;
    } else source += char.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&");
  }
  return new RegExp(`^(?:${source})$`);
}

/** Whether a text has a wildcard. */
export function hasWildcard(text: string): boolean {
  return /[*?[]/.test(text);
}
