// flux top: an instance and its running jobs, live, on the whole terminal.
import { Flux } from "../client/flux.ts";
import { FluxError } from "../message/errno.ts";
import { isTerminal } from "../os/terminal.ts";
import { defineCommand, optional, text, UsageError } from "./command.ts";
import { openInstance, resolveInstance } from "./instance-uri.ts";
import { jobUri, type JobRow } from "./job-row.ts";
import { showJobId } from "./job-id.ts";
import { wantsColor, wrongUsage } from "./output.ts";
import { LiveInstance } from "./top/instance.ts";
import { type Key, keyReader } from "./top/keys.ts";
import { renderLine } from "./top/line.ts";
import { type FullScreen, openFullScreen } from "./top/terminal.ts";
import { follow, NEW_VIEW, press, screen, type View } from "./top/view.ts";

export default defineCommand({
  name: "top",
  style: "getopt",
  summary: "show an instance and its running jobs live",
  usage: "[OPTIONS] [TARGET]",
  details: `Show the resources and the running jobs of an instance, as they change. TARGET is a job that is an instance, or a URI.

Keys:
  j k, arrows   choose a job              h l, arrows   choose a queue
  enter         look into an instance     q             leave it; at last, quit
  d             more or less of how jobs ended          ctrl-l   draw again

Examples:
  flux top
  flux top ƒ2d4mS3y`,
  options: {
    color: optional("--color [WHEN]", "never, always or auto (default)", "always"),
    queue: text("-q, --queue NAME", "only the jobs of this queue"),
  },
  async run({ options, args }) {
    if (args.length > 1) throw wrongUsage("flux top [OPTIONS] [TARGET]");
    const colors = wantsColor(options.color);
    if (!isTerminal(0)) throw new UsageError("stdin is not a terminal");
    if (["", "dumb"].includes(process.env["TERM"] ?? "")) throw new UsageError("this terminal can't move its cursor (TERM is unset or 'dumb')");
    const [target] = args;
    const h = await openTarget(target);
    return new Session(colors).run(h, options.queue);
  },
});

async function openTarget(target: string | undefined): Promise<Flux> {
  try {
    return await (target === undefined ? Flux.open() : openInstance(await resolveInstance(target, () => Flux.open())));
  } catch (err) {
    if (err instanceof FluxError) throw new UsageError(`${target ?? "Unable to connect to Flux"}: ${err.message}`);
    throw err;
  }
}

interface Level {
  readonly instance: LiveInstance;
  view: View;
}

/** One run of `flux top`: the instances that were entered, the last of them on the screen. */
class Session {
  readonly #colors: boolean;
  readonly #levels: Level[] = [];
  readonly #end = Promise.withResolvers<number>();
  #error: string | undefined;
  #screen: FullScreen | undefined;
  #isOpening = false;

  constructor(colors: boolean) {
    this.#colors = colors;
  }

  /** Resolves to the exit code. Throws UsageError, when the terminal is itself again. */
  async run(h: Flux, queue: string | undefined): Promise<number> {
    const first = await this.#watch(h);
    const { queues } = first.snapshot;
    try {
      if (queue !== undefined && !queues.includes(queue)) throw new UsageError(`queue ${queue} not configured`);
      const readKeys = keyReader();
      this.#screen = openFullScreen({
        typed: (words) => {
          for (const key of readKeys(words)) this.#press(key);
        },
        redraw: () => this.#draw(),
        ended: (code) => this.#end.resolve(code),
      });
      await this.#enter(first, { ...NEW_VIEW, queue });
      const code = await this.#end.promise;
      if (this.#error === undefined) return code;
    } finally {
      this.#screen?.release();
      first.close();
      for (const { instance } of this.#levels) instance.close();
    }
    throw new UsageError(this.#error);
  }

  async #watch(h: Flux): Promise<LiveInstance> {
    const instance: LiveInstance = await LiveInstance.open(h, {
      changed: () => this.#changed(instance),
      failed: (message) => this.#say(message),
      gone: () => this.#gone(instance),
    });
    return instance;
  }

  async #enter(instance: LiveInstance, view: View): Promise<void> {
    this.#levels.push({ instance, view });
    this.#screen?.forget();
    this.#draw();
    try {
      await instance.start(view.queue);
    } catch (err) {
      // The user may have left before it had begun.
      if (this.#levels.some((level) => level.instance === instance)) throw err;
    }
  }

  #changed(instance: LiveInstance): void {
    const level = this.#levels.find((one) => one.instance === instance);
    if (level === undefined || this.#screen === undefined) return;
    level.view = follow(level.view, instance.snapshot, this.#screen.size);
    this.#draw();
  }

  /** An instance has ended: back to the one around it. */
  #gone(instance: LiveInstance): void {
    const index = this.#levels.findIndex((level) => level.instance === instance);
    if (index < 0) return;
    const path = this.#levels[index]?.view.path ?? [];
    for (const level of this.#levels.splice(index)) level.instance.close();
    if (this.#levels.length > 0) return this.#say(`${path.at(-1) ?? "the instance"} has ended`, true);
    this.#error = "the connection to the instance is lost";
    this.#end.resolve(1);
  }

  #say(message: string, redraw: boolean = false): void {
    const level = this.#levels.at(-1);
    if (level === undefined) return;
    level.view = { ...level.view, message };
    if (redraw) this.#screen?.forget();
    this.#draw();
  }

  #press(key: Key): void {
    const level = this.#levels.at(-1);
    if (level === undefined || this.#screen === undefined) return;
    const { view, action } = press(level.view, key, level.instance.snapshot, this.#screen.size);
    level.view = view;
    if (action === "interrupt") return this.#end.resolve(0);
    if (action === "quit") return this.#leave();
    if (action === "suspend") return this.#screen.suspend();
    if (action === "redraw") this.#screen.forget();
    if (action === "queue") level.instance.setQueue(view.queue);
    if (typeof action === "object") void this.#open(action.open, view);
    this.#draw();
  }

  #leave(): void {
    this.#levels.pop()?.instance.close();
    if (this.#levels.length === 0) return this.#end.resolve(0);
    this.#screen?.forget();
    this.#draw();
  }

  async #open(job: JobRow, { path }: View): Promise<void> {
    if (this.#isOpening) return;
    this.#isOpening = true;
    const id = showJobId(job.id);
    try {
      const instance = await this.#watch(await openInstance(jobUri(job) ?? ""));
      await this.#enter(instance, { ...NEW_VIEW, path: [...path, id] });
    } catch (err) {
      if (!(err instanceof FluxError) && !(err instanceof UsageError)) throw err;
      this.#say(`${id}: ${err.message}`);
    } finally {
      this.#isOpening = false;
    }
  }

  #draw(): void {
    const level = this.#levels.at(-1);
    if (level === undefined || this.#screen === undefined) return;
    const { size } = this.#screen;
    const { instance, view } = level;
    const lines = screen(view, instance.facts, instance.snapshot, Date.now() / 1000, size);
    this.#screen.draw(lines.map((line) => renderLine(line, size.columns, this.#colors)));
  }
}
