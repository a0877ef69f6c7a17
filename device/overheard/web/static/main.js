// Show the view that the address names.

import { live } from "./api.js";
import { announce, el, replace } from "./dom.js";
import { name } from "./format.js";
import { historyView } from "./history.js";
import { nowView } from "./now.js";
import { setupView } from "./setup.js";
import { soundView } from "./sound.js";

const VIEWS = { now: [nowView, "Now"], history: [historyView, "History"], sound: [soundView, "Sound"], setup: [setupView, "Setup"] };
const main = document.getElementById("main");
let leave = () => {};

function show(moveFocus) {
  const key = location.pathname.slice(1) || "now";
  const [view, title] = VIEWS[key] ?? VIEWS.now;
  leave();
  live.want(key === "sound");
  const left = new AbortController();
  leave = () => left.abort();
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === key) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  replace(main, key === "now" ? null : el("h1", { class: "hidden" }, title), view(left.signal));
  document.title = `${title} · overheard`;
  if (moveFocus) main.focus({ preventScroll: true });
  scrollTo(0, 0);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  if (!link.matches(".top a")) return;
  event.preventDefault();
  if (link.pathname !== location.pathname) { history.pushState(null, "", link.href); show(true); }
});
addEventListener("popstate", () => show(true));

live.addEventListener("change", () => {
  const heard = live.rooms.length ? live.rooms : [""];
  document.getElementById("pulse").classList.toggle("on", heard.some((room) => live.statusOf(room) && live.statusOf(room).state !== "paused"));
  const plays = heard.filter((room) => live.playingIn(room)).map((room) => `${name(live.playingIn(room).track)}${room && ` in ${room}`}`);
  if (plays.length) announce(`Playing ${plays.join(", ")}`);
  else if (live.reachable) announce(live.text);
});
live.connect();
show(false);
