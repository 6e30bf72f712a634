// What every card, edge and chip looks like at every moment. Moment 0 is before everything; moment t is after tick t of
// data.ticks; at the last moment everything is as in the static picture.
"use strict";
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const svg = document.querySelector("#canvas > svg");
const LAST = data.ticks.length;

function element(name, attributes = {}, ...children) {
  const made = name === "rect" || name === "text" || name === "g"
    ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// The outline of a card, in the coordinates of its group.
function outline(g) {
  return g.querySelector("path, polygon").getBBox();
}

// The chip of a card: its text, the shapes under it, and what they were drawn like; a repeated card has two, "to" the other.
function findChip(g) {
  const texts = [...g.querySelectorAll("text.mono")].filter((text) => text.previousElementSibling?.localName === "path");
  const text = texts.find((e) => /^(g (-?\d|exactly 0|nan|-?inf)|no gradient$)/.test(e.textContent));
  if (!text) return null;
  const shapesOf = (e) => {
    const found = [];
    for (let s = e.previousElementSibling; s?.localName === "path"; s = s.previousElementSibling) found.push(s);
    return found;
  };
  const other = text.nextElementSibling?.localName === "path" ? texts.find((e) => e.textContent.startsWith("to ")) : null;
  const parts = [text, ...shapesOf(text)], others = other ? [other, ...shapesOf(other)] : [];
  for (const e of [...parts, ...others]) e.classList.add("chip");
  return {
    text, parts, others,
    drawn: parts.map((e) => [e.getAttribute("fill"), e.getAttribute("stroke")]), words: text.textContent,
  };
}

const cards = new Map();
for (const g of svg.querySelectorAll("g.node")) {
  if (!data.nodes[g.id]) continue; // such as the legend
  cards.set(g.id, { id: g.id, g, lit: LAST, done: LAST, gradients: [], chip: findChip(g), box: outline(g), state: "", shown: null });
}
const edges = new Map();
for (const g of svg.querySelectorAll("g.edge")) {
  // an edge may be drawn from the op to its operand, for the sake of the layout: its arrow says so
  const path = g.querySelector("path"), arrow = g.querySelector("polygon");
  let reversed = false;
  if (path && arrow) {
    const tip = arrow.points[1], from = path.getPointAtLength(0), to = path.getPointAtLength(path.getTotalLength());
    reversed = Math.hypot(tip.x - from.x, tip.y - from.y) < Math.hypot(tip.x - to.x, tip.y - to.y);
  }
  g.classList.toggle("reversed", reversed);
  edges.set(g.id, { g, lit: LAST, state: "" });
}
data.ticks.forEach((tick, i) => tick.forEach((frame) => {
  const t = i + 1;
  for (const id of frame?.lit ?? []) {
    const card = cards.get(id);
    card.lit = Math.min(card.lit, t);
    card.done = t;
  }
  for (const id of frame?.edges ?? []) edges.get(id).lit = Math.min(edges.get(id).lit, t);
  for (const [id, ...look] of frame?.chips ?? []) cards.get(id)?.gradients.push({ t, look });
}));

// Names that Graphviz gives would come up as tooltips. Every card gets a ring that shows what is up with it.
for (const title of svg.querySelectorAll("title")) title.remove();
svg.setAttribute("role", "group");
svg.setAttribute("aria-label", "Cards of the graph");
for (const card of cards.values()) {
  const { x, y, width, height } = card.box;
  const ring = { class: "halo", x: x - 3.5, y: y - 3.5, width: width + 7, height: height + 7, rx: 11 };
  card.g.prepend(element("rect", ring));
}

// How a gradient came to be what it is: a pill on the lower edge of the card, "1 of 2".
function showPart(card, part) {
  card.g.querySelector(".part")?.remove();
  if (!part) return;
  const width = 5 * part.length + 8, { x, y, height } = card.box;
  card.g.append(element("g", { class: "part" },
    element("rect", { x: x + 8, y: y + height - 4, width, height: 12, rx: 6 }),
    element("text", { x: x + 8 + width / 2, y: y + height + 5 }, part)));
}

function showChip(card, look) {
  const { text, parts, others, drawn, words: asDrawn } = card.chip;
  const [words, ground, border, ink, part] = look ?? [];
  for (const e of parts) e.classList.toggle("none", !look);
  for (const e of others) e.classList.toggle("none", !look || words !== undefined);
  showPart(card, part);
  if (!look) return;
  text.removeAttribute("textLength");
  text.textContent = asDrawn;
  if (words?.length > asDrawn.length) { // the chip is as wide as what it said when it was drawn
    text.setAttribute("textLength", text.getComputedTextLength());
    text.setAttribute("lengthAdjust", "spacingAndGlyphs");
  }
  text.textContent = words ?? asDrawn;
  const painted = (color) => color && color !== "none" && color !== "transparent";
  parts.forEach((e, i) => {
    const [fill, stroke] = drawn[i];
    if (painted(fill)) e.setAttribute("fill", !words ? fill : e === text ? ink : ground);
    if (painted(stroke)) e.setAttribute("stroke", !words ? stroke : border);
  });
}

const AS_DRAWN = [];
let moment = -1;
let flowing = [];

function framesAt(t) {
  return t > 0 && t < LAST ? data.ticks[t - 1] : data.sides.map(() => null);
}

// Make the picture what it is at moment t; only what has changed is touched.
function show(t) {
  moment = t;
  const frames = framesAt(t), backward = data.backward !== null && t >= data.backward;
  const now = new Map(frames.filter((f) => f?.card).map((f) => [f.card, backward ? "now back" : "now"]));
  for (const card of cards.values()) {
    const state = `${t < card.lit ? "dim" : t < card.done ? "partly" : ""} ${now.get(card.id) ?? ""}`;
    if (state !== card.state) {
      card.state = state;
      for (const name of ["dim", "partly", "now", "back"]) card.g.classList.toggle(name, state.split(" ").includes(name));
    }
    if (!card.chip) continue;
    const look = t === LAST ? AS_DRAWN : card.gradients.findLast((g) => g.t <= t)?.look;
    if (look !== card.shown) showChip(card, card.shown = look);
  }
  for (const edge of edges.values()) {
    const dim = t < edge.lit;
    if (dim !== edge.dim) edge.g.classList.toggle("dim", edge.dim = dim);
  }
  for (const g of flowing) g.classList.remove("flow", "back");
  flowing = frames.flatMap((f) => f?.edges ?? []).map((id) => edges.get(id).g);
  for (const g of flowing) g.classList.add("flow", ...(backward ? ["back"] : []));
  $("caption").replaceChildren(...data.sides.map((side, i) => caption(side, i, t)));
}

function cardOf(id) {
  return cards.has(id) ? id : data.nodes[id]?.card ?? "";
}

// "backward 7 of 19: rule of mul; dx = g * y; sends g 3.1e-02 to relu"
function caption(side, i, t) {
  const frame = t > 0 ? data.ticks[t - 1][i] : null, line = element("p");
  if (data.sides.length > 1) line.append(element("span", { class: `side${i}` }, `${side.title}  `));
  if (!frame) {
    line.className = "idle";
    line.append(t > 0 ? "waits for the other" : `start: nothing has run yet${side.note ? `; ${side.note}` : ""}`);
    return line;
  }
  const [where, ...rest] = frame.say;
  line.append(element("span", { class: `where ${where.split(" ")[0]}` }, where), ": ");
  rest.filter(Boolean).forEach((words, k) => {
    const told = k ? `; ${words}` : words;
    line.append(words === rest[1] ? element("span", { class: "mono" }, told) : told);
  });
  if (t === LAST && side.note) line.append(`; ${side.note}`);
  return line;
}
