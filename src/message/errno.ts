// POSIX error numbers (Linux) and FluxError, the one error type that crosses component borders.
//
// A service answers a failed request with an errno and a sentence (RFC 6); the caller's promise rejects with
// a FluxError that carries both. Texts of numbers are those of strerror(3), because scripts match them.

/** name → [number, strerror text]. Linux numbering, the errors that Flux services use. */
const ERRNO_TABLE = {
  EPERM: [1, "Operation not permitted"],
  ENOENT: [2, "No such file or directory"],
  ESRCH: [3, "No such process"],
  EINTR: [4, "Interrupted system call"],
  EIO: [5, "Input/output error"],
  ENXIO: [6, "No such device or address"],
  E2BIG: [7, "Argument list too long"],
  ENOEXEC: [8, "Exec format error"],
  EBADF: [9, "Bad file descriptor"],
  ECHILD: [10, "No child processes"],
  EAGAIN: [11, "Resource temporarily unavailable"],
  ENOMEM: [12, "Cannot allocate memory"],
  EACCES: [13, "Permission denied"],
  EFAULT: [14, "Bad address"],
  EBUSY: [16, "Device or resource busy"],
  EEXIST: [17, "File exists"],
  EXDEV: [18, "Invalid cross-device link"],
  ENODEV: [19, "No such device"],
  ENOTDIR: [20, "Not a directory"],
  EISDIR: [21, "Is a directory"],
  EINVAL: [22, "Invalid argument"],
  ENFILE: [23, "Too many open files in system"],
  EMFILE: [24, "Too many open files"],
  ENOTTY: [25, "Inappropriate ioctl for device"],
  EFBIG: [27, "File too large"],
  ENOSPC: [28, "No space left on device"],
  ESPIPE: [29, "Illegal seek"],
  EROFS: [30, "Read-only file system"],
  EMLINK: [31, "Too many links"],
  EPIPE: [32, "Broken pipe"],
  EDOM: [33, "Numerical argument out of domain"],
  ERANGE: [34, "Numerical result out of range"],
  EDEADLK: [35, "Resource deadlock avoided"],
  ENAMETOOLONG: [36, "File name too long"],
  ENOSYS: [38, "Function not implemented"],
  ENOTEMPTY: [39, "Directory not empty"],
  ELOOP: [40, "Too many levels of symbolic links"],
  ENODATA: [61, "No data available"],
  ETIME: [62, "Timer expired"],
  EPROTO: [71, "Protocol error"],
  EOVERFLOW: [75, "Value too large for defined data type"],
  ENOTUNIQ: [76, "Name not unique on network"],
  EBADMSG: [74, "Bad message"],
  EUSERS: [87, "Too many users"],
  EMSGSIZE: [90, "Message too long"],
  EPROTONOSUPPORT: [93, "Protocol not supported"],
  EOPNOTSUPP: [95, "Operation not supported"],
  EADDRINUSE: [98, "Address already in use"],
  EADDRNOTAVAIL: [99, "Cannot assign requested address"],
  ENETUNREACH: [101, "Network is unreachable"],
  ECONNABORTED: [103, "Software caused connection abort"],
  ECONNRESET: [104, "Connection reset by peer"],
  ENOBUFS: [105, "No buffer space available"],
  EISCONN: [106, "Transport endpoint is already connected"],
  ENOTCONN: [107, "Transport endpoint is not connected"],
  ESHUTDOWN: [108, "Cannot send after transport endpoint shutdown"],
  ETIMEDOUT: [110, "Connection timed out"],
  ECONNREFUSED: [111, "Connection refused"],
  EHOSTDOWN: [112, "Host is down"],
  EHOSTUNREACH: [113, "No route to host"],
  EALREADY: [114, "Operation already in progress"],
  EINPROGRESS: [115, "Operation now in progress"],
  ESTALE: [116, "Stale file handle"],
  EDQUOT: [122, "Disk quota exceeded"],
  ECANCELED: [125, "Operation canceled"],
} as const satisfies Record<string, readonly [number, string]>;

export type ErrnoName = keyof typeof ERRNO_TABLE;

/** `errno.ENOENT` is 2, and so on. */
export const errno = Object.fromEntries(
  Object.entries(ERRNO_TABLE).map(([name, [number]]) => [name, number]),
) as { readonly [K in ErrnoName]: (typeof ERRNO_TABLE)[K][0] };

const byNumber = new Map<number, readonly [ErrnoName, string]>(
  Object.entries(ERRNO_TABLE).map(([name, [number, text]]) => [number, [name as ErrnoName, text]]),
);

/** The text of strerror(3) for an errno. */
export function strerror(number: number): string {
  return byNumber.get(number)?.[1] ?? `Unknown error ${number}`;
}

/** "ENOENT" for 2; undefined for a number that is not in the table. */
export function errnoName(number: number): ErrnoName | undefined {
  return byNumber.get(number)?.[0];
}

/** The number of an error name such as node's `err.code`; undefined when it is not an errno name. */
export function errnoNumber(name: string): number | undefined {
  return name in ERRNO_TABLE ? ERRNO_TABLE[name as ErrnoName][0] : undefined;
}

/** An error with an errno (never 0) and a sentence that says what went wrong and, where possible, what to do. */
export class FluxError extends Error {
  readonly errno: number;
  /** True when `message` says more than strerror(errno): only then is it sent as the text of an error response. */
  readonly hasText: boolean;

  constructor(number: number, text?: string, options?: ErrorOptions) {
    super(text !== undefined && text !== "" ? text : strerror(number), options);
    this.name = "FluxError";
    this.errno = number;
    this.hasText = text !== undefined && text !== "";
  }
}

/** Any thrown value as a FluxError: a FluxError as it is, a system error by its code, everything else as `fallback`. */
export function toFluxError(thrown: unknown, fallback: number = errno.EINVAL): FluxError {
  if (thrown instanceof FluxError) return thrown;
  if (thrown instanceof Error) {
    const code = (thrown as NodeJS.ErrnoException).code;
    const number = typeof code === "string" ? errnoNumber(code) : undefined;
    return new FluxError(number ?? fallback, thrown.message, { cause: thrown });
  }
  return new FluxError(fallback, String(thrown));
}

/** True for a FluxError with the given errno. */
export function isErrno(thrown: unknown, number: number): boolean {
  return thrown instanceof FluxError && thrown.errno === number;
}
