// The commands of `flux`: name → one line for lists, and how to load it. A command's file is read only when it is
// called.
import type { CommandSpecAny } from "./command.ts";

export interface CommandEntry {
  readonly summary: string;
  readonly load: () => Promise<{ default: CommandSpecAny }>;
  /** Not shown in lists: something that Flux starts itself. */
  readonly hidden?: boolean;
}

/** In the order `flux help` shows them. */
export const COMMANDS: Readonly<Record<string, CommandEntry>> = {
  start: { summary: "bootstrap a Flux instance", load: () => import("./start.ts") },
  broker: { summary: "run one Flux broker", load: () => import("./broker.ts"), hidden: true },
};
