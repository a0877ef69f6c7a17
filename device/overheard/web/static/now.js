// What is playing, and the day so far.

import { api, live } from "./api.js";
import { cover, el, icon, replace } from "./dom.js";
import { clock, dayName, duration, length, midnight, name, percent } from "./format.js";
import { playList } from "./plays.js";
import { roomCards } from "./rooms.js";
import { timeline } from "./timeline.js";

export function nowView(signal) {
  const hero = el("section", { class: "hero", "aria-label": "Now" });
  const line = el("div");
  const list = el("div");
  const heading = el("h2", { id: "day" });
  const later = el("button", { class: "button round", type: "button", "aria-label": "Next day", onclick: () => move(1) }, icon("right"));
  const day = el("section", { "aria-labelledby": "day" },
    el("div", { class: "head" }, heading, el("div", { class: "row" },
      el("button", { class: "button round", type: "button", "aria-label": "Day before", onclick: () => move(-1) }, icon("left")), later)),
    el("div", { class: "card" }, line), list);
  let shown = midnight(new Date());
  let following = true; // today, also when that is another day
  let plays = [];
  let parts = null;
  let drawn = ""; // the minute that the timeline shows

  const isToday = () => shown.getTime() === midnight(new Date()).getTime();

  function move(days) { shown = midnight(shown, days); following = isToday(); load(); }

  /** Load today again, if it is shown. */
  function refresh() {
    if (following) shown = midnight(new Date());
    if (isToday()) load();
  }

  function tick() {
    if (following && !isToday()) refresh();
    if (isToday() && drawn !== clock(new Date())) drawLine();
    parts?.update?.(live.playing);
  }

  async function load() {
    const wanted = shown;
    later.disabled = isToday();
    heading.textContent = dayName(shown);
    try {
      const range = `since=${shown.toISOString()}&until=${midnight(shown, 1).toISOString()}`;
      const answer = await api("GET", `/plays?${range}&limit=500&show=everything`, undefined, { signal });
      if (wanted !== shown) return;
      plays = answer.plays;
      draw();
    } catch (error) {
      if (error.name !== "AbortError") replace(list, el("p", { class: "empty" }, error.message));
    }
  }

  function drawLine() {
    drawn = clock(new Date());
    replace(line, timeline(plays, shown, isToday()));
  }

  function draw() {
    drawLine();
    const what = isToday() ? "Nothing has been recognized today." : "Nothing was recognized on this day.";
    replace(list, plays.length ? playList(plays, { onChange: load }) : el("p", { class: "empty" }, what));
    if (!live.playing) update();
  }

  function update() {
    hero.className = live.rooms.length ? "rooms" : "hero";
    if (live.rooms.length) {
      const key = live.rooms.map((room) => `${room} ${live.textOf(room)} ${live.playingIn(room)?.track.id} ${live.playingIn(room)?.started_at}`).join("\n");
      if (parts?.key !== key) {
        parts = roomCards();
        parts.key = key;
        replace(hero, parts.nodes);
      }
      parts.update();
      return;
    }
    const play = live.playing;
    const key = play ? `${play.track.id} ${play.started_at}` : `${live.text} ${plays[0]?.id}`;
    if (parts?.key !== key) {
      parts = play ? playing(play) : idle(plays);
      parts.key = key;
      replace(hero, parts.nodes);
    }
    parts.update(play);
  }

  live.addEventListener("change", update, { signal });
  for (const event of ["play_started", "play_ended", "music_unknown", "returned"]) {
    live.addEventListener(event, () => setTimeout(refresh, 300), { signal });
  }
  const timer = setInterval(tick, 1000);
  signal.addEventListener("abort", () => clearInterval(timer));
  update();
  load();
  return [hero, day];
}

function playing(play) {
  const eyebrow = el("p", { class: "eyebrow" });
  const bar = el("i");
  const progress = el("div", { class: "bar", role: "progressbar", "aria-label": "Position in the track", "aria-valuemin": 0, "aria-valuemax": Math.round(play.duration_s) || 1 }, bar);
  const position = el("span");
  const facts = ["Confidence", "Speed", "Since", "Pack"].map((label) => ({ label, value: el("dd") }));
  return {
    nodes: [
      cover(play.track),
      el("div", {},
        eyebrow,
        el("h1", {}, play.track.title),
        play.track.artist && el("p", { class: "artist" }, play.track.artist),
        play.track.album && el("p", { class: "album" }, play.track.album),
        el("div", { class: "progress" }, progress,
          el("div", { class: "times num" }, position, el("span", {}, play.duration_s ? length(play.duration_s) : ""))),
        el("dl", { class: "facts" }, facts.map(({ label, value }) => el("div", {}, el("dt", {}, label), value)))),
    ],
    update(now) {
      const at = live.position;
      eyebrow.textContent = now.alternatives.length ? `Playing this, or ${now.alternatives.length === 1 ? "another track" : `one of ${now.alternatives.length} others`} with the same passage` : "Playing now";
      position.textContent = length(at);
      bar.style.width = now.duration_s ? percent(at / now.duration_s, 2) : "0";
      progress.setAttribute("aria-valuenow", Math.round(at));
      progress.setAttribute("aria-valuetext", now.duration_s ? `${length(at)} of ${length(now.duration_s)}` : length(at));
      const values = [percent(now.confidence), percent(now.speed, Math.abs(now.speed - 1) < 0.0005 ? 0 : 1), now.started_at ? clock(new Date(now.started_at)) : "–", now.track.pack];
      facts.forEach(({ value }, i) => { value.textContent = values[i]; });
    },
  };
}

function idle(plays) {
  const hint = !live.reachable ? "The page reconnects automatically."
    : !live.running ? "Start it with overheard listen, or install the service."
    : live.status?.pause ? (live.status.pause.until ? `Until ${clock(new Date(live.status.pause.until))}.` : "Until you resume it under Sound.")
    : "";
  const last = plays.find((play) => play.unknown_id === null || play.label !== null);
  const heard = last && el("p", { class: "artist" });
  return {
    nodes: [
      cover(last?.track),
      el("div", {},
        el("p", { class: "eyebrow" }, "Now"),
        el("h1", {}, live.text),
        hint && el("p", { class: "album" }, hint),
        heard),
    ],
    update() {
      if (!last) return;
      const text = `Last heard ${duration((Date.now() - new Date(last.ended_at)) / 1000)} ago: ${name(last.track)}`;
      if (heard.textContent !== text) heard.textContent = text;
    },
  };
}
