// What kvs-watch answers, as job-info uses it: text that comes in pieces, and its lines.
import { isJsonObject, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError } from "../../message/errno.ts";

/** The text of one response of kvs-watch; undefined for the sentinel after the initial data. */
export function textOf(response: JsonObject): string | undefined {
  const { val } = response;
  if (val === undefined || val === null) return undefined;
  // Checked by hand: the data may be large, and comes from our own KVS.
  if (!isJsonObject(val) || typeof val["data"] !== "string") throw new FluxError(errno.EPROTO, "kvs-watch.lookup: the response has no value");
  return Buffer.from(val["data"], "base64").toString();
}

/** Cuts text that arrives in pieces into lines, each with its newline. */
export class Lines {
  #rest = "";

  push(text: string): string[] {
    const whole = this.#rest === "" ? text : this.#rest + text;
    const lines: string[] = [];
    let start = 0;
    for (let end = whole.indexOf("\n"); end >= 0; end = whole.indexOf("\n", start)) {
      lines.push(whole.slice(start, end + 1));
      start = end + 1;
    }
    this.#rest = start === 0 ? whole : whole.slice(start);
    return lines;
  }
}
