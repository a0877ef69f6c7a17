// A list of plays, with what can be done with each.

import { api } from "./api.js";
import { cover, el, icon, replace, toast } from "./dom.js";
import { clock, duration, length, name, percent } from "./format.js";

const UNDO_S = 6;
const doomed = new Map(); // plays that are deleted unless the user takes it back, and what deletes them

addEventListener("pagehide", () => { for (const finish of doomed.values()) finish(); });

/** Return a list of plays; onChange is called after one was changed or deleted. */
export function playList(plays, { onChange }) {
  return el("ol", { class: "plays" }, plays.filter((play) => !doomed.has(play.id)).map((play) => row(play, onChange)));
}

function row(play, onChange) {
  const started = new Date(play.started_at);
  const heard = (new Date(play.ended_at) - started) / 1000;
  const item = el("li");
  const panel = el("div", { class: "details", id: `play-${play.id}`, hidden: true });
  const open = el("button", {
    class: "button round quiet", type: "button", "aria-expanded": "false", "aria-controls": panel.id,
    "aria-label": `Details of ${name(play.track)}, ${clock(started)}`,
    onclick: () => {
      panel.hidden = !panel.hidden;
      open.setAttribute("aria-expanded", String(!panel.hidden));
      if (!panel.childElementCount) replace(panel, details(play, item, heard, onChange));
    },
  }, icon("more"));
  const track = play.track;
  const unsure = play.alternatives.length ? el("span", { class: "tag" }, `or ${play.alternatives.length} more`) : null;
  item.append(
    el("div", { class: "play-row" },
      el("time", { datetime: play.started_at }, clock(started)),
      cover(track, true),
      el("div", { class: "names" }, el("b", {}, track.title, unsure && " ", unsure), el("span", {}, [track.artist, track.album].filter(Boolean).join(" · "))),
      el("span", { class: "length" }, length(heard)),
      el("div", { class: "actions" }, open)),
    panel);
  return item;
}

function details(play, item, heard, onChange) {
  const facts = [
    ["Heard for", duration(heard)], ["From position", length(play.offset_s)], ["Confidence", percent(play.confidence)],
    ["Album", play.track.album], ["Pack", play.track.pack], ["Heard at", play.source],
  ];
  const others = play.alternatives.map((other) => name(other.track));
  return [
    el("dl", {}, facts.filter(([, value]) => value).map(([label, value]) => el("div", {}, el("dt", {}, label), el("dd", {}, value)))),
    others.length ? el("p", { class: "why" }, `The same passage is in: ${others.join("; ")}.`) : null,
    el("div", { class: "row" },
      el("button", { class: "button danger", type: "button", onclick: () => remove(play, item, onChange) }, "Delete this play")),
  ];
}

/** Hide a play now, and delete it when the user has not taken it back: deleting overwrites it in the file. */
function remove(play, item, onChange) {
  const next = item.nextElementSibling ?? item.previousElementSibling;
  item.hidden = true;
  next?.querySelector("button")?.focus();
  const finish = async () => {
    doomed.delete(play.id);
    clearTimeout(timer);
    try {
      await api("DELETE", `/plays/${play.id}`, undefined, { keepalive: true });
      onChange();
    } catch (error) {
      item.hidden = false;
      toast(error.message);
    }
  };
  const timer = setTimeout(finish, UNDO_S * 1000);
  doomed.set(play.id, finish);
  toast(`Deleted: ${play.track.title}`, () => { clearTimeout(timer); doomed.delete(play.id); item.hidden = false; item.querySelector("button").focus(); }, "Undo", UNDO_S);
}
