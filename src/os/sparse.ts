// Sparse files: which parts of a file hold data. What is between them are zeros that nobody wrote.
import { errno } from "../message/errno.ts";
import { lastErrno, libc } from "./libc.ts";

const SEEK_DATA = 3;
const SEEK_HOLE = 4;

export interface DataRegion {
  readonly offset: number;
  readonly size: number;
}

/** Regions with data, ascending; the whole file where its file system knows no holes. */
export function dataRegions(fd: number, size: number): DataRegion[] {
  const regions: DataRegion[] = [];
  for (let at = 0; at < size; ) {
    const from = seek(fd, at, SEEK_DATA);
    if (from === undefined) break;
    const to = Math.min(size, seek(fd, from, SEEK_HOLE) ?? size);
    if (to <= from) return [{ offset: 0, size }];
    regions.push({ offset: from, size: to - from });
    at = to;
  }
  return regions;
}

/** Undefined: there is no data (hole) from here on. */
function seek(fd: number, offset: number, whence: number): number | undefined {
  const at = Number(libc().lseek(fd, offset, whence));
  if (at >= 0) return at;
  // A file system that knows no holes: all is data.
  return lastErrno() === errno.ENXIO ? undefined : whence === SEEK_DATA ? offset : undefined;
}
