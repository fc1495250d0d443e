// Writing to stderr so that nothing is lost at exit, nothing is coloured, and the descriptor's flags stay as they are
// for the programs that share it.
import { writeSync } from "node:fs";

export function writeStderr(text: string): void {
  try {
    writeSync(2, text);
  } catch {
    // Nobody reads stderr any more. There is no other place to say so.
  }
}
