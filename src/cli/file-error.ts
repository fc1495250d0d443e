// What the commands say of a file that can't be read or written, in the words of flux-core's.

const TEXTS: Readonly<Record<string, string>> = {
  ENOENT: "No such file or directory",
  EACCES: "Permission denied",
  EISDIR: "Is a directory",
  ENOTDIR: "Not a directory",
};

/** "No such file or directory: 'PATH'". */
export function fileErrorText(err: unknown, path: string): string {
  const text = TEXTS[(err as NodeJS.ErrnoException).code ?? ""];
  if (text === undefined) return err instanceof Error ? err.message : String(err);
  return `${text}: '${path}'`;
}

/** "[Errno 2] No such file or directory: 'PATH'". */
export function systemErrorText(err: unknown, path: string): string {
  const { errno: number, code } = err as NodeJS.ErrnoException;
  const text = fileErrorText(err, path);
  return number === undefined || TEXTS[code ?? ""] === undefined ? text : `[Errno ${Math.abs(number)}] ${text}`;
}
