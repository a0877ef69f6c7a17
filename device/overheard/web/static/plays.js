// A list of plays, with what can be done with each.

import { api, live } from "./api.js";
import { cover, el, icon, replace, svg, toast } from "./dom.js";
import { clock, length, name, percent } from "./format.js";

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
  const where = live.rooms.find((room) => play.source === room || play.source.startsWith(`${room}, `));
  const by = [play.track.artist, play.track.album, where].filter(Boolean).join(" · ");
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
    ["Heard for", length(heard)], ...(isUnknown(play) ? [] : [["From position", length(play.offset_s)], ["Confidence", percent(play.confidence)]]),
    ["Speed", Math.abs(play.speed - 1) < 0.0005 ? "" : percent(play.speed, 1)], ["Album", play.track.album], ["Pack", isUnknown(play) ? "" : play.track.pack], ["Input", play.source],
  ];
  const others = play.alternatives.map((other) => name(other.track));
  const why = el("div", { class: "why", hidden: true });
  const wrong = isUnknown(play) ? null : el("button", {
    class: "button", type: "button", "aria-pressed": String(play.wrong),
    onclick: () => change(play, { wrong: !play.wrong }, () => {
      wrong.setAttribute("aria-pressed", String(play.wrong));
      item.classList.toggle("was-wrong", play.wrong);
      if (play.wrong) toast("Marked as wrong; lists do not show it any more", () => wrong.click(), "Undo");
    }),
  }, "This was wrong");
  return [
    el("dl", {}, facts.filter(([, value]) => value).map(([label, value]) => el("div", {}, el("dt", {}, label), el("dd", {}, value)))),
    others.length ? el("p", { class: "why" }, `The same passage is in: ${others.join("; ")}.`) : null,
    play.unknown_id !== null ? naming(play, onChange) : null,
    why,
    el("div", { class: "row" },
      isUnknown(play) ? null : el("button", { class: "button", type: "button", "aria-expanded": "false", onclick: (event) => explain(play, why, event.currentTarget) }, "Why this track?"),
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
        const { recognized } = await api("PATCH", `/unknown/${play.unknown_id}`, { title: title.value, artist: artist.value });
        toast(recognized ? `${title.value} is recognized from now on` : `Named: ${title.value}`);
        onChange();
      } catch (error) { toast(error.message); }
    },
  }, field("title", "Title", play.label === null ? "" : play.track.title), field("artist", "Artist", play.track.artist), el("button", { class: "button main" }, "Name this music"));
  return form;
}

/** Show what the recognition was based on. */
async function explain(play, box, button) {
  box.hidden = !box.hidden;
  button.setAttribute("aria-expanded", String(!box.hidden));
  if (box.hidden || box.childElementCount) return;
  try {
    const { looks } = await api("GET", `/plays/${play.id}/explanation`);
    replace(box, looks.length ? [evidence(looks), chart(looks)] : el("p", {}, "No details are stored for this play."));
  } catch (error) { replace(box, el("p", {}, error.message)); }
}

// Between two searches, the running play is only compared with its own track. Such a check has no score of its own.
function evidence(looks) {
  const searches = looks.filter((look) => !look.check), checks = looks.length - searches.length;
  const also = checks ? ` In between, ${checks === 1 ? "a check" : `${checks} checks`} with this track alone confirmed that it was still playing.` : "";
  if (!searches.length) return el("p", {}, also.trim());
  const best = searches.reduce((one, other) => (other.score > one.score ? other : one));
  const accepted = searches.filter((look) => look.score >= look.threshold).length;
  const next = best.margin >= 0 ? `${best.margin.toFixed(2)} more than that of the second-best track` : "less than that of the second-best track";
  return el("p", {}, `${accepted} of ${searches.length} searches recognized this track. The best score is ${best.score.toFixed(1)} (threshold ${best.threshold.toFixed(1)}), with a similarity of ${best.similarity.toFixed(2)}, ${next}.${also}`);
}

/** A point for each match over time: the scores of searches, the threshold, and the verifications on it. */
function chart(looks) {
  const width = 640, height = 120, top = Math.max(...looks.map((look) => look.score), looks[0].threshold) * 1.1 || 1;
  const end = Math.max(...looks.map((look) => look.after_s), 1);
  const x = (look) => 8 + ((width - 16) * look.after_s) / end, y = (score) => height - 8 - ((height - 16) * Math.max(0, score)) / top;
  const line = looks.map((look, i) => `${i ? "L" : "M"}${x(look).toFixed(1)} ${y(look.threshold).toFixed(1)}`).join("");
  const point = (look) => {
    const { check } = look;
    const text = check ? `checked after ${length(look.after_s)}` : `after ${length(look.after_s)}: ${look.score.toFixed(1)}`;
    return svg("circle", { class: check ? "check" : look.score >= look.threshold ? "hit" : "miss", cx: x(look), cy: y(check ? look.threshold : look.score), r: check ? 2.5 : 4 }, svg("title", {}, text));
  };
  return svg("svg", { class: "looks", viewBox: `0 0 ${width} ${height + 22}`, role: "img", "aria-label": "Score of each search over time; searches above the dashed line recognized the track" },
    svg("path", { class: "limit", d: looks.length > 1 ? line : `M8 ${y(looks[0].threshold)}H${width - 8}` }), looks.map(point),
    svg("text", { x: 8, y: height + 16 }, "0:00"), svg("text", { x: width - 8, y: height + 16, "text-anchor": "end" }, length(end)));
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
