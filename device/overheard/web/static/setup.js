// Packs and settings.

import { api } from "./api.js";
import { el, icon, replace, toast } from "./dom.js";
import { bytes } from "./format.js";

const IMPORTANT = ["listen.input", "listen.rooms", "listen.history", "listen.quiet_hours", "history.keep_days", "packs", "model", "gate.open_db", "gate.close_db", "unknown.remember", "web.host", "web.port", "data_dir"];

export function setupView(signal) {
  const packs = el("ul", { class: "packs" }), settings = el("dl", { class: "settings" }), others = el("dl", { class: "settings" });
  const note = el("p", { class: "soft" }), file = el("code");
  const locked = el("p", { class: "lead", hidden: true }, "This page cannot change the configuration file. Edit the file on the computer that listens, and restart overheard there.");

  async function load() {
    try {
      const [found, shown] = await Promise.all([api("GET", "/packs", undefined, { signal }), api("GET", "/settings", undefined, { signal })]);
      note.textContent = found.selected.length ? `The setting packs selects ${found.selected.join(", ")}; the switches have no effect.` : "overheard recognizes what is in these packs.";
      replace(packs, found.packs.map(pack));
      file.textContent = shown.file;
      locked.hidden = shown.writable;
      const isMain = ({ name, origin }) => IMPORTANT.includes(name) || origin !== "default";
      replace(settings, shown.settings.filter(isMain).map(setting));
      replace(others, shown.settings.filter((one) => !isMain(one)).map(setting));
    } catch (error) {
      if (error.name !== "AbortError") replace(packs, el("li", { class: "empty" }, error.message));
    }
  }

  load();
  return [
    el("section", { class: "card", "aria-labelledby": "packs" }, el("div", { class: "head" }, el("h2", { id: "packs" }, "Packs"), note), packs),
    el("section", { class: "card", "aria-labelledby": "settings" },
      el("div", { class: "head" }, el("h2", { id: "settings" }, "Settings"), el("span", { class: "soft" }, file)), locked, settings,
      el("details", {}, el("summary", {}, "All other settings"), others)),
    el("section", { class: "card", "aria-labelledby": "screen" },
      el("div", { class: "head" }, el("h2", { id: "screen" }, "On another screen"), el("a", { class: "button", href: "/now" }, icon("screen"), "Full screen")),
      el("p", { class: "lead" }, "For an old tablet next to the stereo: only what is playing, large. It works in old browsers too.")),
  ];
}

function pack(facts) {
  const button = el("button", {
    class: "switch", type: "button", role: "switch", "aria-checked": String(facts.enabled), "aria-label": `Search the pack ${facts.name}`,
    onclick: async () => {
      if (button.getAttribute("aria-busy") === "true") return; // a disabled button would lose the focus
      const enabled = button.getAttribute("aria-checked") !== "true";
      button.setAttribute("aria-busy", "true");
      try {
        await api("PATCH", `/packs/${encodeURIComponent(facts.name)}`, { enabled });
        button.setAttribute("aria-checked", String(enabled));
        toast(`${facts.name} is ${enabled ? "searched" : "not searched"} from now on`);
      } catch (error) { toast(error.message); }
      button.removeAttribute("aria-busy");
    },
  });
  const about = facts.usable
    ? [`${facts.tracks.toLocaleString()} tracks`, `${facts.hours.toFixed(1)} hours`, bytes(facts.bytes), `made ${new Date(facts.created).toLocaleDateString()}`].join(" · ")
    : `cannot be used: ${facts.problem}`;
  return el("li", {}, el("div", { class: "names" }, el("b", {}, facts.name), el("span", {}, about)), button);
}

/** A control for a setting that can be changed here: a switch, or a field that saves when it is left. */
function control(facts, origin) {
  const label = `${facts.name}: ${facts.about}`;
  const save = async (value, node) => {
    try {
      Object.assign(facts, await api("PATCH", `/settings/${facts.name}`, { value }));
      origin.textContent = facts.origin;
      toast("Saved. Restart overheard listen to use it.");
    } catch (error) { toast(error.message); }
    if (typeof facts.value === "boolean") node.setAttribute("aria-checked", String(facts.value));
    else node.value = facts.value;
  };
  if (typeof facts.value === "boolean") {
    const node = el("button", { class: "switch", type: "button", role: "switch", "aria-checked": String(facts.value), "aria-label": label, onclick: () => save(!facts.value, node) });
    return node;
  }
  const isNumber = typeof facts.value === "number";
  const node = el("input", {
    class: "text", type: isNumber ? "number" : "text", step: "any", min: facts.low, max: facts.high, value: facts.value, "aria-label": label, placeholder: "not set", autocomplete: "off",
    onchange: () => save(isNumber ? (node.value === "" ? null : Number(node.value)) : node.value, node),
  });
  return node;
}

function setting(facts) {
  const { name, value, about, origin } = facts;
  const source = el("small", {}, origin);
  const text = Array.isArray(value) ? value.join(", ") || "none" : value === true ? "yes" : value === false ? "no" : value === "" ? "not set" : String(value);
  return el("div", {}, el("dt", {}, el("b", {}, name), el("span", { class: "soft" }, about)), el("dd", {}, facts.editable ? control(facts, source) : text, source));
}
