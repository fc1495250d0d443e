// The system's log, as syslog(3) writes to it: datagrams "<PRIORITY>Mon dd hh:mm:ss NAME[PID]: TEXT" to /dev/log.
import { wallClock_ms } from "./clock.ts";
import { openDatagramSender } from "./datagram.ts";

const SOCKET = "/dev/log";
/** Facility LOG_USER, shifted as it is in a priority. */
const USER = 1 << 3;

/** Takes lines with a severity from 0 (emerg) to 7 (debug). They are lost when nobody keeps them. */
export function openSyslog(name: string, send: (text: string) => void = openDatagramSender(SOCKET)): (severity: number, text: string) => void {
  return (severity, text) => {
    const [, month, day, , time] = new Date(wallClock_ms()).toString().split(" ");
    send(`<${USER | severity}>${month} ${String(Number(day)).padStart(2)} ${time} ${name}[${process.pid}]: ${text}\n`);
  };
}
