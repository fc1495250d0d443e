// Chunks: what a wide directory keeps of its last encoding, so that a commit costs what has changed and not what is
// there: its text in pieces of a fixed number of entries, and the state of the hash before each piece.
//
// Names of jobs ascend with time, so nearly all changes are in the last piece.
import { type Blobref, HASH_SIZE_BYTES, type HashName } from "../../formats/blobref.ts";
import { newRecord, RECORD_HEAD_BYTES } from "../../formats/blob-records.ts";

export const CHUNK_ENTRIES = 128;
/** Directories with fewer entries are encoded whole. */
export const WIDE_ENTRIES = 1024;

const HEAD = '{"data":{';
const TAIL = Buffer.from('},"type":"dir","ver":1}');

export class Chunks {
  readonly #texts: (Buffer | undefined)[] = [];
  /** states[i]: the hash of everything before chunk i. */
  readonly #states: Bun.CryptoHasher[] = [];

  /** The entry at this place has another value. */
  changed(at: number): void {
    const chunk = Math.floor(at / CHUNK_ENTRIES);
    if (chunk < this.#texts.length) this.#texts[chunk] = undefined;
    this.#dropStates(chunk);
  }

  /** An entry was put in or taken out at this place: those after it have moved. */
  moved(at: number): void {
    const chunk = Math.floor(at / CHUNK_ENTRIES);
    if (this.#texts.length > chunk) this.#texts.length = chunk;
    this.#dropStates(chunk);
  }

  #dropStates(chunk: number): void {
    if (this.#states.length > chunk + 1) this.#states.length = chunk + 1;
  }

  /** The blob as content.adopt takes it, and its blobref. `entries(from, to)` is the text of these entries, joined by commas. */
  encode(count: number, entries: (from: number, to: number) => string, hashName: HashName): { record: Buffer; ref: Blobref } {
    const chunks = Math.ceil(count / CHUNK_ENTRIES);
    const hashSize = HASH_SIZE_BYTES[hashName];
    this.#states[0] ??= new Bun.CryptoHasher(hashName);
    let size_bytes = TAIL.length;
    for (let i = 0; i < chunks; i++) {
      const from = i * CHUNK_ENTRIES;
      const text = (this.#texts[i] ??= Buffer.from((i === 0 ? HEAD : ",") + entries(from, Math.min(from + CHUNK_ENTRIES, count))));
      size_bytes += text.length;
      if (this.#states.length > i + 1) continue;
      this.#states[i + 1] = (this.#states[i] as Bun.CryptoHasher).copy().update(text);
    }
    const hash = (this.#states[chunks] as Bun.CryptoHasher).copy().update(TAIL).digest();
    const record = newRecord(hashSize, size_bytes);
    record.set(hash, RECORD_HEAD_BYTES);
    let at = RECORD_HEAD_BYTES + hashSize;
    for (let i = 0; i < chunks; i++) {
      const text = this.#texts[i] as Buffer;
      record.set(text, at);
      at += text.length;
    }
    record.set(TAIL, at);
    return { record, ref: `${hashName}-${hash.toString("hex")}` };
  }
}
