// Datagrams to a local socket that another program serves: the system's log, systemd.
import { ptr } from "bun:ffi";
import { check, libc } from "./libc.ts";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** Of sockaddr_un: the family, and the path with its final NUL. */
const FAMILY_BYTES = 2;
const PATH_MAX_BYTES = 108;

/**
 * Sends each text as one datagram to the socket at `path`, or, when that begins with "@", of that abstract name. Nobody there, or
 * one who doesn't read: the text is lost, and whoever sends it is neither held up nor told. Throws FluxError only for a lack of descriptors.
 */
export function openDatagramSender(path: string): (text: string) => void {
  const name = Buffer.from(path.startsWith("@") ? `\0${path.slice(1)}` : `${path}\0`);
  if (name.length > PATH_MAX_BYTES) return () => {};
  const address = new Uint8Array(FAMILY_BYTES + name.length);
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(name, FAMILY_BYTES);
  const fd = check(libc().socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
  return (text) => {
    const data = Buffer.from(text);
    if (data.length > 0) libc().sendto(fd, ptr(data), data.length, MSG_DONTWAIT | MSG_NOSIGNAL, ptr(address), address.length);
  };
}
