// What plays in each room.

import { live } from "./api.js";
import { cover, el } from "./dom.js";
import { length, percent } from "./format.js";

/** Return a card for each room, and a function that moves the positions. */
export function roomCards() {
  const cards = live.rooms.map(card);
  return { nodes: [el("h1", { class: "hidden" }, "Now"), ...cards.map(({ node }) => node)], update: () => cards.forEach(({ update }) => update()) };
}

function card(room) {
  const play = live.playingIn(room);
  const bar = el("i"), times = el("p", { class: "times num" });
  const words = play
    ? [el("h2", {}, play.track.title), play.track.artist && el("p", {}, play.track.artist), play.track.album && el("p", { class: "soft" }, play.track.album),
       el("div", { class: "bar", "aria-hidden": "true" }, bar), times]
    : [el("p", { class: "soft" }, live.textOf(room))];
  const node = el("article", { class: "card room", "aria-label": room }, cover(play?.track), el("div", {}, el("p", { class: "eyebrow" }, room), words));
  return {
    node,
    update() {
      const now = live.playingIn(room);
      if (!now) return;
      const at = live.positionIn(room);
      bar.style.width = now.duration_s ? percent(at / now.duration_s, 2) : "0";
      times.textContent = `${length(at)}${now.duration_s ? ` of ${length(now.duration_s)}` : ""}, ${percent(now.confidence)}${now.alternatives.length ? ", or a track with the same passage" : ""}`;
    },
  };
}
