// Timestamps as the commands that follow something show them: the date where a minute begins, then offsets in it.
//
//   [Nov21 02:19] first
//   [  +0.000146] second

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"] as const;

export interface HumanTime {
  readonly text: string;
  /** The date is shown: a new minute has begun. */
  readonly isBreak: boolean;
}

/** A function from seconds since the epoch to text; with `delta`, offsets count from the line before. */
export function humanTimes(delta: boolean = false): (time_s: number) => HumanTime {
  let minute = "";
  let last_s = 0;
  return (time_s) => {
    const date = new Date(time_s * 1000);
    const two = (n: number): string => String(n).padStart(2, "0");
    const clock = `${MONTHS[date.getMonth()]}${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}`;
    if (`${date.getFullYear()} ${clock}` !== minute) {
      minute = `${date.getFullYear()} ${clock}`;
      last_s = time_s;
      return { text: `[${clock}]`, isBreak: true };
    }
    const offset_s = time_s - last_s;
    if (delta) last_s = time_s;
    return { text: `[${`${offset_s < 0 ? "-" : "+"}${Math.abs(offset_s).toFixed(6)}`.padStart(11)}]`, isBreak: false };
  };
}

/** ISO 8601 in the local time zone with `digits` digits of a second, and the zone's offset unless told not to. */
export function isoTime(time_s: number, digits: number = 6, zone: boolean = true): string {
  const date = new Date(time_s * 1000);
  const fraction = Math.floor((time_s - Math.floor(time_s)) * 10 ** digits);
  const offset_min = -date.getTimezoneOffset();
  const local = new Date(date.getTime() + offset_min * 60_000).toISOString().slice(0, 19);
  return `${local}.${String(fraction).padStart(digits, "0")}${zone ? zoneOf(offset_min) : ""}`;
}

function zoneOf(offset_min: number): string {
  if (offset_min === 0) return "Z";
  const minutes = Math.abs(offset_min);
  const two = (n: number): string => String(n).padStart(2, "0");
  return `${offset_min < 0 ? "-" : "+"}${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`;
}
