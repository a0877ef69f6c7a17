// What the microphone hears: level, log-mel picture, state, cost; and the pause.

import { api, live } from "./api.js";
import { el, replace, toast } from "./dom.js";
import { clock, duration, percent } from "./format.js";

const SECONDS = 60, LOW_DB = -72, HIGH_DB = -8, LOWEST = -100;

export function soundView(signal) {
  const canvas = el("canvas", { class: "spectrum", role: "img", "aria-label": "Log-mel spectrogram of the last minute; low frequencies at the bottom" });
  const rooms = el("div", { class: "row", role: "group", "aria-label": "Room" });
  const picture = el("section", { class: "card", "aria-labelledby": "hears" },
    el("div", { class: "head" }, el("h2", { id: "hears" }, "What the microphone hears"), el("span", { class: "soft" }, "last minute")),
    canvas, el("div", { class: "axis", "aria-hidden": "true" }, el("span", {}, "1 minute ago"), el("span", {}, "now")));
  const state = el("p", { class: "big" }), hint = el("p", { class: "soft" });
  const level = el("i"), floor = el("b", { title: "noise floor" });
  const meter = el("div", { class: "meter", role: "meter", "aria-label": "Level in dB of full scale", "aria-valuemin": LOWEST, "aria-valuemax": 0 }, level, floor);
  const levelText = el("p", { class: "soft num" });
  const facts = el("dl", { class: "grid" });
  const controls = el("div", { class: "row" });
  const share = el("p", { class: "big" }), stages = el("div", { class: "stages", "aria-hidden": "true" }), costs = el("dl", { class: "grid" });
  let paused = null;

  async function ask(path, body, done) {
    try { await api("POST", path, body); toast(done); } catch (error) { toast(error.message); }
  }

  function buttons(isPaused) {
    if (paused === isPaused) return;
    paused = isPaused;
    const held = controls.contains(document.activeElement);
    replace(controls, isPaused
      ? el("button", { class: "button main", type: "button", onclick: () => ask("/resume", {}, "Listening again") }, "Resume")
      : [el("button", { class: "button", type: "button", onclick: () => ask("/pause", { for_s: 3600 }, "Paused for an hour") }, "Pause for an hour"),
         el("button", { class: "button", type: "button", onclick: () => ask("/pause", {}, "Paused") }, "Pause until resumed")]);
    if (held) controls.querySelector("button").focus();
  }

  /** Buttons that choose the room, if there are several. */
  function chooseRoom() {
    rooms.hidden = !live.rooms.length;
    if (rooms.childElementCount !== live.rooms.length) {
      replace(rooms, live.rooms.map((room) => el("button", { class: "button", type: "button", onclick: () => { live.room = room; live.changed(); } }, room)));
    }
    [...rooms.children].forEach((button, i) => button.setAttribute("aria-pressed", String(live.rooms[i] === live.room)));
  }

  function update() {
    chooseRoom();
    const status = live.status;
    state.textContent = live.text;
    controls.hidden = !live.running;
    buttons(Boolean(status?.pause));
    hint.textContent = status?.pause ? (status.pause.until ? `${status.pause.reason}, until ${clock(new Date(status.pause.until))}` : `${status.pause.reason}, until it is resumed`) : live.running ? "" : "Start overheard listen to see the sound.";
    const db = status?.level_db ?? LOWEST;
    const place = (value) => percent(Math.min(1, Math.max(0, (value - LOWEST) / -LOWEST)), 1);
    level.style.width = place(db);
    floor.style.left = place(status?.floor_db ?? LOWEST);
    floor.hidden = !status || status.floor_db <= -119;
    meter.setAttribute("aria-valuenow", Math.round(Math.max(db, LOWEST)));
    levelText.textContent = !status ? "no sound arrives" : db <= -119 ? "digital silence" : `${db.toFixed(0)} dBFS${floor.hidden ? "" : `, noise floor ${status.floor_db.toFixed(0)} dBFS`}`;
    fill(facts, status ? [
      ["Gate", status.gate_open ? "open" : "closed"], ["Music", percent(status.music)],
      ["Next check", status.next_check_s === null ? "all the time" : `in ${Math.ceil(status.next_check_s)} s`],
    ] : []);
    const entries = Object.entries(status?.cpu_s ?? {}), total = entries.reduce((sum, [, seconds]) => sum + seconds, 0);
    share.textContent = total && status.audio_s ? percent(total / status.audio_s, 1) : "–";
    if (stages.childElementCount !== entries.length) replace(stages, entries.map(() => el("i")));
    entries.forEach(([, seconds], i) => { stages.children[i].style.flexGrow = total ? seconds / total : 0; });
    fill(costs, status ? [["Heard so far", duration(status.audio_s)], ["Lost", status.lost_s ? duration(status.lost_s) : "nothing"],
      ...entries.map(([stage, seconds]) => [stage[0].toUpperCase() + stage.slice(1), `${seconds.toFixed(1)} s`])] : []);
  }

  live.addEventListener("change", update, { signal });
  spectrum(canvas, signal);
  update();
  return [rooms, picture, el("div", { class: "split" },
    el("section", { class: "card", "aria-labelledby": "input" }, el("h2", { id: "input" }, "Input"), state, hint, meter, levelText, facts, controls),
    el("section", { class: "card", "aria-labelledby": "cost" }, el("h2", { id: "cost" }, "Cost"), share, el("p", { class: "soft" }, "of one processor, so far"), stages, costs))];
}

/** Set the values of a list of facts; keep the elements, so that nothing moves under a screen reader. */
function fill(list, facts) {
  if (list.childElementCount !== facts.length) replace(list, facts.map(() => el("div", {}, el("dt"), el("dd"))));
  facts.forEach(([label, value], i) => {
    const [dt, dd] = list.children[i].children;
    if (dt.textContent !== label) dt.textContent = label;
    if (dd.textContent !== value) dd.textContent = value;
  });
}

/** Draw the columns of the picture as they arrive; the newest is at the right. */
function spectrum(canvas, signal) {
  let context = null, colours = null, shown = "";
  live.addEventListener("mel", ({ detail: { room, columns, columns_per_s } }) => {
    if (room !== live.room) return;
    const bands = columns[0].length, width = SECONDS * columns_per_s;
    if (canvas.width !== width || canvas.height !== bands || shown !== room) {
      shown = room;
      canvas.width = width; canvas.height = bands;
      context = canvas.getContext("2d");
      colours = palette();
      context.fillStyle = "#131210";
      context.fillRect(0, 0, width, bands);
    }
    const n = Math.min(columns.length, width);
    context.drawImage(canvas, n, 0, width - n, bands, 0, 0, width - n, bands);
    const image = context.createImageData(n, bands);
    columns.slice(-n).forEach((column, x) => column.forEach((db, band) => {
      const share = Math.min(1, Math.max(0, (db - LOW_DB) / (HIGH_DB - LOW_DB)));
      image.data.set(colours[Math.round(255 * share)], 4 * ((bands - 1 - band) * n + x));
    }));
    context.putImageData(image, width - n, 0);
  }, { signal });
}

/** 256 colours from the page's night to a warm white. */
function palette() {
  const stops = [[19, 18, 16], [74, 22, 32], [168, 50, 26], [240, 130, 74], [255, 236, 205]];
  return Array.from({ length: 256 }, (_, i) => {
    const at = (i / 255) * (stops.length - 1), k = Math.min(stops.length - 2, Math.floor(at)), t = at - k;
    return [0, 1, 2].map((c) => Math.round(stops[k][c] + t * (stops[k + 1][c] - stops[k][c]))).concat(255);
  });
}
