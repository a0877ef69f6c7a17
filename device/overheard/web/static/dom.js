// Small helpers. Text from titles reaches the page through textContent only, never as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** Return an element with properties, attributes, listeners (onX) and children; null children are left out. */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function replace(node, ...children) {
  node.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
}

const ICONS = {
  star: "M12 3.5l2.6 5.400 5.900.8-4.300 4.100 1.100 5.900L12 16.900 6.700 19.700l1.100-5.900L3.500 9.700l5.900-.8z",
  more: "M6 9l6 6 6-6",
  left: "M15 5l-7 7 7 7",
  right: "M9 5l7 7-7 7",
  screen: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
};

export function icon(name) {
  return svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));
}

/** Return the cover of a track, over a record that shows while there is none. */
export function cover(track, small) {
  const rings = [46, 38, 30].map((r) => svg("circle", { cx: 60, cy: 60, r, fill: "none", stroke: "currentColor", "stroke-opacity": 0.28 }));
  const record = svg("svg", { viewBox: "0 0 120 120", "aria-hidden": "true" }, rings,
    svg("circle", { cx: 60, cy: 60, r: 15, fill: "currentColor", "fill-opacity": 0.3 }));
  const box = el("div", { class: small ? "cover thumb" : "cover" }, record);
  if (track && /^[\w.:-]+$/.test(track.id)) {
    const image = el("img", {
      src: `/api/v1/covers/${track.id}${small ? "?small=true" : ""}`, alt: "", loading: small ? "lazy" : null, decoding: "async",
      onerror: () => image.remove(),
    });
    box.append(image);
  }
  return box;
}

let announced = "";

/** Let a screen reader say something, once. */
export function announce(text) {
  if (text === announced) return;
  announced = text;
  document.getElementById("announcer").textContent = text;
}

/** Show a message for some seconds, with a button if there is an action. */
export function toast(text, action, label, seconds = 6) {
  const box = el("div", { class: "toast" }, el("span", {}, text));
  const close = () => { clearTimeout(timer); box.remove(); };
  if (action) box.append(el("button", { type: "button", onclick: () => { close(); action(); } }, label));
  document.getElementById("toasts").append(box);
  const timer = setTimeout(close, seconds * 1000);
  return close;
}

/** Ask before something that cannot be undone; resolves to true or false. */
export function confirmed(title, text, label) {
  return new Promise((resolve) => {
    const dialog = el("dialog", { "aria-labelledby": "question" },
      el("h2", { id: "question" }, title), el("p", {}, text),
      el("form", { method: "dialog", class: "row" },
        el("button", { class: "button", value: "no" }, "Cancel"),
        el("button", { class: "button main", value: "yes" }, label)));
    dialog.addEventListener("close", () => { resolve(dialog.returnValue === "yes"); dialog.remove(); });
    document.body.append(dialog);
    dialog.showModal();
  });
}
