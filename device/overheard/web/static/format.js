// Times, lengths and shares as people read them.

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const DAY_OF_YEAR = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });

export const clock = (time) => CLOCK.format(time);

export function length(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

export function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} seconds`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} minutes`;
  if (seconds < 172800) return `${(seconds / 3600).toFixed(1)} hours`;
  return `${Math.round(seconds / 86400)} days`;
}

export const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)}%`;

/** Midnight of a day, `days` later; days are longer or shorter when the clocks change. */
export function midnight(time, days = 0) {
  return new Date(time.getFullYear(), time.getMonth(), time.getDate() + days);
}

export function dayName(time, today = "Today", yesterday = "Yesterday") {
  const now = new Date();
  if (midnight(time).getTime() === midnight(now).getTime()) return today;
  if (midnight(time).getTime() === midnight(now, -1).getTime()) return yesterday;
  return (time.getFullYear() === now.getFullYear() ? DAY : DAY_OF_YEAR).format(time);
}

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB"];
  let unit = 0;
  while (count >= 999.5 && unit < 3) { count /= 1000; unit += 1; }
  return `${unit ? count.toFixed(1) : count} ${units[unit]}`;
}

export const name = (track) => (track.artist ? `${track.title} by ${track.artist}` : track.title);
