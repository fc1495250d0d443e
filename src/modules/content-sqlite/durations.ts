// Running statistics of how long something took, in milliseconds (Welford's method).
import type { JsonObject } from "../../formats/json.ts";

export class Durations {
  #count = 0;
  #mean = 0;
  #squares = 0;
  #min = 0;
  #max = 0;

  add(value: number): void {
    this.#min = this.#count === 0 ? value : Math.min(this.#min, value);
    this.#max = this.#count === 0 ? value : Math.max(this.#max, value);
    this.#count++;
    const delta = value - this.#mean;
    this.#mean += delta / this.#count;
    this.#squares += delta * (value - this.#mean);
  }

  stats(): JsonObject {
    const stddev = this.#count < 2 ? 0 : Math.sqrt(this.#squares / (this.#count - 1));
    return { count: this.#count, min: this.#min, max: this.#max, mean: this.#mean, stddev };
  }
}
