// Plugins of the commands that submit jobs (flux run, submit, bulksubmit, alloc, batch): options of a site's or a user's own, and a
// word in what becomes of the others.
//
//   import { defineSubmissionPlugin } from "…/src/client/submission-plugin.ts";   // types only: plain JavaScript works too
//
//   export default defineSubmissionPlugin({
//     options: { gear: { argument: "N", help: "which gear to run in" } },
//     preinit: ({ builtin }) => {
//       builtin.queue ??= "debug";                           // a default for an option of Flux
//     },
//     modifyJobspec: ({ own, jobspec }) => {
//       if (own.gear !== undefined) jobspec.attributes.system.gear = Number(own.gear);
//     },
//     validate: ({ jobspec }) => {
//       if (jobspec.attributes.system.gear > 5) throw new Error("there are five gears");
//     },
//   });
//
// `flux submit --ex-gear=3 app` then has it; `flux submit --help` shows it, `flux submit --list-plugins` where it comes from. Files
// (.js, .mjs, .ts …) are looked for in $FLUX_CLI_PLUGINPATH, in flux/cli/plugins of $XDG_CONFIG_HOME (~/.config), in
// /etc/flux/cli/plugins and in /usr/libexec/flux/cli/plugins; $FLUX_CLI_PLUGINPATH_OVERRIDE takes the place of all of these. A plugin
// that has an option of one before it is left out.
import type { Json } from "../formats/json.ts";

export interface SubmissionPluginOption {
  readonly help: string;
  /** Name of its value in help. Without one the option is a switch, true when it is given. */
  readonly argument?: string;
  /** It may be given many times; its value is a list. */
  readonly list?: boolean;
  /** Words that may be given. */
  readonly choices?: readonly string[];
}

/** Values of options: of switches true or false, of others text, or undefined when they were not given. */
export type OwnOptions = Readonly<Record<string, string | boolean | readonly string[] | undefined>>;

/** A jobspec (RFC 14, 25) that may be changed. */
export interface DraftJobspec {
  version: number;
  resources: Json[];
  tasks: { command: string[]; slot: string; count: Record<string, number> }[];
  attributes: { system: Record<string, Json | undefined>; user?: Record<string, Json> };
}

export interface SubmissionContext {
  /** "run", "submit", "bulksubmit", "alloc" or "batch". */
  readonly command: string;
  readonly own: OwnOptions;
  /**
   * Options of Flux by their long names in camel case: queue, timeLimit, ntasks, coresPerTask, setopt … What was not given is
   * undefined, false or an empty list.
   */
  readonly builtin: Record<string, unknown>;
}

export interface SubmissionPlugin {
  /** For lists. Default: the file's name. */
  readonly name?: string;
  /** Before options' names: --PREFIX-NAME. Default "ex"; "" for none. */
  readonly prefix?: string;
  /** Commands that have it. Default: all. */
  readonly commands?: readonly string[];
  /** For `--help=OPTION`. */
  readonly documentation?: string;
  readonly options?: Readonly<Record<string, SubmissionPluginOption>>;
  /** Options were read; nothing is made of them yet. May change `builtin`. */
  preinit?(context: SubmissionContext): void | Promise<void>;
  /** The jobspec is made: may change it. */
  modifyJobspec?(context: SubmissionContext & { readonly jobspec: DraftJobspec }): void | Promise<void>;
  /** The jobspec is final. Throws to refuse it, with a message for the user. */
  validate?(context: SubmissionContext & { readonly jobspec: DraftJobspec }): void | Promise<void>;
}

export function defineSubmissionPlugin(plugin: SubmissionPlugin): SubmissionPlugin {
  return plugin;
}
