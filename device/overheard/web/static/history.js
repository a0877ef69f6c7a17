// The history, with search.

import { api, live } from "./api.js";
import { cover, el, replace } from "./dom.js";
import { dayName, duration, midnight } from "./format.js";
import { playList } from "./plays.js";

const PAGE = 60, MOST = 500; // plays of a request
const FILTERS = [["plays", "All", "No plays yet. They appear here as soon as overheard listen recognizes music."],
  ["favourites", "Favourites", "No favourites yet. Mark a play with its star."],
  ["unknown", "Unknown music", "No unknown music without a name."],
  ["wrong", "Wrong", "No plays are marked as wrong."],
  ["top", "Most played", "Nothing has been played yet."]];

export function historyView(signal) {
  const list = el("div", { "aria-live": "off" });
  const more = el("button", { class: "button", type: "button", hidden: true, onclick: () => load(false) }, "Show more");
  const search = el("input", {
    class: "field", type: "search", id: "search", placeholder: "Title, artist or album", maxlength: 200, autocomplete: "off", spellcheck: "false",
    oninput: () => { clearTimeout(waiting); waiting = setTimeout(() => load(true), 250); },
  });
  const count = el("p", { class: "hidden", role: "status" });
  const filters = FILTERS.map(([key, label]) => el("button", {
    class: "button", type: "button", "aria-pressed": String(key === "plays"),
    onclick: () => {
      shown = key;
      filters.forEach((button, i) => button.setAttribute("aria-pressed", String(FILTERS[i][0] === key)));
      load(true);
    },
  }, label));
  let shown = "plays", waiting = 0, next = null, plays = [], newest = 0;

  /** Load the first page, the next one, or again as many plays as are shown. */
  async function load(fresh, again = false) {
    const mine = ++newest;
    if (shown === "top") return loadTop(mine);
    const limit = again ? Math.min(MOST, Math.max(PAGE, plays.length)) : PAGE;
    const query = new URLSearchParams({ limit, show: shown });
    if (search.value.trim()) query.set("q", search.value);
    if (!fresh && next) query.set("before", next);
    try {
      const answer = await api("GET", `/plays?${query}`, undefined, { signal });
      if (mine !== newest) return;
      plays = fresh ? answer.plays : [...plays, ...answer.plays];
      next = answer.next;
      draw();
    } catch (error) {
      if (error.name !== "AbortError") replace(list, el("p", { class: "empty" }, error.message));
    }
  }

  /** Load the most played tracks; the search is done here. */
  async function loadTop(mine) {
    try {
      const { top } = await api("GET", `/top?limit=${MOST}`, undefined, { signal });
      if (mine !== newest) return;
      const words = search.value.toLowerCase().split(/\s+/);
      const found = top.filter(({ artist, title }) => words.every((word) => `${title} ${artist}`.toLowerCase().includes(word)));
      plays = [];
      next = null;
      replace(list, found.length ? el("ol", { class: "plays" }, found.map(counted)) : el("p", { class: "empty" }, nothing()));
      more.hidden = true;
      count.textContent = `${found.length} tracks shown`;
    } catch (error) {
      if (error.name !== "AbortError") replace(list, el("p", { class: "empty" }, error.message));
    }
  }

  const nothing = () => (search.value.trim() ? "No play matches the search." : FILTERS.find(([key]) => key === shown)[2]);

  function draw() {
    const days = new Map();
    for (const play of plays) {
      const day = midnight(new Date(play.started_at)).getTime();
      days.set(day, [...(days.get(day) ?? []), play]);
    }
    replace(list, plays.length
      ? [...days].map(([day, found]) => el("section", { "aria-label": dayName(new Date(day)) }, el("h2", { class: "day" }, dayName(new Date(day))), playList(found, { onChange: () => load(true, true) })))
      : el("p", { class: "empty" }, nothing()));
    more.hidden = !next;
    count.textContent = `${plays.length} plays shown`;
  }

  for (const event of ["play_ended", "returned"]) {
    live.addEventListener(event, () => { if (plays.length <= PAGE && scrollY < 200 && !list.contains(document.activeElement)) setTimeout(() => load(true), 300); }, { signal });
  }
  load(true);
  return [
    el("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() },
      el("label", { for: "search", class: "hidden" }, "Search the history"), search,
      el("div", { class: "row", role: "group", "aria-label": "Show" }, filters)),
    el("div", {}, list, more), count,
  ];
}

/** A track with how often it was played. */
function counted({ artist, title, plays, heard_s, last_at, track_id }) {
  return el("li", {}, el("div", { class: "play-row" },
    el("span", { class: "played" }, `${plays} ×`), cover({ id: track_id }, true),
    el("div", { class: "names" }, el("b", {}, title), el("span", {}, [artist || "Unknown artist", `last played ${dayName(new Date(last_at), "today", "yesterday")}`].join(" · "))),
    el("span", { class: "length" }, duration(heard_s))));
}
