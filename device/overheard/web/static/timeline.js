// The plays of one day on a line of 24 hours.

import { svg } from "./dom.js";
import { clock, midnight, name } from "./format.js";

const WIDTH = 960, TOP = 6, HEIGHT = 44;

export function timeline(plays, day, isToday) {
  const start = day.getTime(), end = midnight(day, 1).getTime();
  const x = (time) => (WIDTH * (Math.min(Math.max(time, start), end) - start)) / (end - start);
  const first = plays.at(-1), last = plays[0];
  const summary = plays.length
    ? `${plays.length} ${plays.length === 1 ? "play" : "plays"} between ${clock(new Date(first.started_at))} and ${clock(new Date(last.ended_at))}; the list below has them`
    : "No plays";
  const ticks = [];
  for (let hour = 0; hour <= 24; hour += 3) {
    const time = new Date(day.getFullYear(), day.getMonth(), day.getDate(), hour);
    const at = x(time.getTime());
    const anchor = hour === 0 ? "start" : hour === 24 ? "end" : "middle";
    ticks.push(
      svg("line", { class: "tick", x1: at, x2: at, y1: TOP + HEIGHT + 4, y2: TOP + HEIGHT + 9 }),
      svg("text", { x: at, y: TOP + HEIGHT + 24, "text-anchor": anchor, class: hour % 6 ? "minor" : null }, `${String(hour).padStart(2, "0")}:00`));
  }
  const now = Date.now();
  const bars = plays.map((play) => {
    const [from, to] = [new Date(play.started_at), new Date(play.ended_at)];
    const left = x(from.getTime());
    const unknown = play.unknown_id !== null && play.label === null;
    return svg("rect", {
      class: unknown ? "unknown" : isToday && now - to < 30000 ? "play open" : "play",
      x: left, y: TOP, width: Math.max(1.5, x(to.getTime()) - left - 0.75), height: HEIGHT, rx: 2,
    }, svg("title", {}, `${clock(from)}  ${unknown ? "Unknown music" : name(play.track)}`));
  });
  const here = x(now);
  return svg("svg", { class: "timeline", viewBox: `0 0 ${WIDTH} ${TOP + HEIGHT + 30}`, role: "img", "aria-label": summary },
    svg("rect", { class: "lane", x: 0, y: TOP, width: WIDTH, height: HEIGHT, rx: 6 }), bars, ticks,
    isToday ? svg("line", { class: "clock", x1: here, x2: here, y1: 0, y2: TOP + HEIGHT + 6 }) : null);
}
