// Blobs with their hashes, many in one payload, as the KVS hands them to the content service of its broker and that to
// its backing store. Each record: size of the blob (4 bytes, little endian), hash, blob.
import { FormatError } from "./error.ts";

/** Bytes before the hash. */
export const RECORD_HEAD_BYTES = 4;
const SIZE_MAX = 0xffff_ffff;

/** A record whose blob is still to be filled in, from the byte RECORD_HEAD_BYTES + hashSize on; the hash goes before it. */
export function newRecord(hashSize: number, size_bytes: number): Buffer {
  if (size_bytes > SIZE_MAX) throw new FormatError("blob record", "", `a blob of ${size_bytes} bytes is larger than 4 GiB`);
  const record = Buffer.allocUnsafeSlow(RECORD_HEAD_BYTES + hashSize + size_bytes);
  record.writeUInt32LE(size_bytes, 0);
  return record;
}

/** Calls `take` with the place of each record's hash and blob: hash at `hash`, blob from `start` to `end`. Throws FormatError. */
export function eachRecord(bytes: Buffer, hashSize: number, take: (hash: number, start: number, end: number) => void): void {
  let at = 0;
  while (at < bytes.length) {
    const start = at + RECORD_HEAD_BYTES + hashSize;
    const end = start > bytes.length ? Infinity : start + bytes.readUInt32LE(at);
    if (end > bytes.length) throw new FormatError("blob record", "", `it is cut at byte ${bytes.length}`);
    take(at + RECORD_HEAD_BYTES, start, end);
    at = end;
  }
}
