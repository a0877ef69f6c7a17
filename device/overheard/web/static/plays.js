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
  const item = el("li", { class: play.wrong ? "was-wrong" : null });
  const panel = el("div", { class: "details", id: `play-${play.id}`, hidden: true });
  const title = isUnknown(play) ? "Unknown music" : play.track.title;
  const open = el("button", {
    class: "button round quiet", type: "button", "aria-expanded": "false", "aria-controls": panel.id,
    "aria-label": `Details of ${title}, ${clock(started)}`,
    onclick: () => {
      panel.hidden = !panel.hidden;
      open.setAttribute("aria-expanded", String(!panel.hidden));
      if (!panel.childElementCount) replace(panel, details(play, item, heard, onChange));
    },
  }, icon("more"));
  const star = isUnknown(play) ? null : el("button", {
    class: "button round quiet", type: "button", "aria-pressed": String(play.favourite), "aria-label": `Favourite: ${title}, ${clock(started)}`,
    onclick: () => change(play, { favourite: !play.favourite }, () => star.setAttribute("aria-pressed", String(play.favourite))),
  }, icon("star"));
  const tag = play.alternatives.length ? `or ${play.alternatives.length} more` : play.label !== null ? "named by you" : null;
  const by = [play.track.artist, play.track.album].filter(Boolean).join(" · ");
  item.append(
    el("div", { class: "play-row" },
      el("time", { datetime: play.started_at }, clock(started)),
      cover(isUnknown(play) ? null : play.track, true),
      el("div", { class: "names" }, el("b", {}, title, tag && " ", tag && el("span", { class: "tag" }, tag)), el("span", {}, by || (isUnknown(play) ? "In none of your packs" : "Unknown artist"))),
      el("span", { class: "length" }, length(heard)),
      el("div", { class: "actions" }, star, open)),
    panel);
  return item;
}

const isUnknown = (play) => play.unknown_id !== null && play.label === null;

/** Change the marks of a play in the history, then on the page. */
async function change(play, marks, then) {
  try {
    Object.assign(play, await api("PATCH", `/plays/${play.id}`, marks));
    then();
  } catch (error) { toast(error.message); }
}

function details(play, item, heard, onChange) {
  const facts = [
    ["Heard for", duration(heard)], ...(isUnknown(play) ? [] : [["From position", length(play.offset_s)], ["Confidence", percent(play.confidence)]]),
    ["Speed", Math.abs(play.speed - 1) < 0.0005 ? "" : percent(play.speed, 1)], ["Album", play.track.album], ["Pack", isUnknown(play) ? "" : play.track.pack], ["Input", play.source],
  ];
  const others = play.alternatives.map((other) => name(other.track));
  const why = el("div", { class: "why", hidden: true });
  const wrong = isUnknown(play) ? null : el("button", {
    class: "button", type: "button", "aria-pressed": String(play.wrong),
    onclick: () => change(play, { wrong: !play.wrong }, () => {
      wrong.setAttribute("aria-pressed", String(play.wrong));
      item.classList.toggle("was-wrong", play.wrong);
      if (play.wrong) toast("Marked as wrong; lists leave it out from now on", () => wrong.click(), "Undo");
    }),
  }, "This was wrong");
  return [
    el("dl", {}, facts.filter(([, value]) => value).map(([label, value]) => el("div", {}, el("dt", {}, label), el("dd", {}, value)))),
    others.length ? el("p", { class: "why" }, `The same passage is in: ${others.join("; ")}.`) : null,
    play.unknown_id !== null ? naming(play, onChange) : null,
    why,
    el("div", { class: "row" },
      isUnknown(play) ? null : el("button", { class: "button", type: "button", onclick: (event) => explain(play, why, event.currentTarget) }, "Why this track?"),
      wrong,
      el("button", { class: "button danger", type: "button", onclick: () => remove(play, item, onChange) }, "Delete")),
  ];
}

/** A form that gives unknown music its name, in all its plays. */
function naming(play, onChange) {
  const field = (id, label, value) => [el("label", { for: `${id}-${play.id}` }, label), el("input", { class: "text", id: `${id}-${play.id}`, maxlength: 300, value, required: id === "title" })];
  const form = el("form", {
    class: "naming", onsubmit: async (event) => {
      event.preventDefault();
      const [title, artist] = form.querySelectorAll("input");
      try {
        await api("PATCH", `/unknown/${play.unknown_id}`, { title: title.value, artist: artist.value });
        toast(`Named: ${title.value}. It has this name each time that it is heard.`);
        onChange();
      } catch (error) { toast(error.message); }
    },
  }, field("title", "Title", play.label === null ? "" : play.track.title), field("artist", "Artist", play.track.artist), el("button", { class: "button main" }, "Name this music"));
  return form;
}

/** Show what the recognition was based on. */
async function explain(play, box, button) {
  box.hidden = false;
  button.disabled = true;
  try {
    const { evidence } = await api("GET", `/plays/${play.id}/explanation`);
    replace(box, evidence ? facts(evidence) : el("p", {}, "Nothing more is known about this play."));
  } catch (error) { replace(box, el("p", {}, error.message)); }
}

function facts(values) {
  const shown = (value) => Array.isArray(value) ? value.map(shown).join(", ") : value !== null && typeof value === "object" ? Object.entries(value).map(([key, item]) => `${words(key)} ${shown(item)}`).join(", ")
    : typeof value === "number" ? String(Math.round(value * 1000) / 1000) : value === true ? "yes" : value === false ? "no" : String(value ?? "–");
  return el("dl", {}, Object.entries(values).map(([key, value]) => el("div", {}, el("dt", {}, words(key)), el("dd", {}, shown(value)))));
}

const words = (key) => { const text = key.replaceAll("_", " ").replace(/ s$/, " (s)").replace(/ db$/, " (dB)"); return text[0].toUpperCase() + text.slice(1); };

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
