// The details of a card, or of the whole graph while none is selected.
const panel = $("panel");
const narrow = matchMedia("(max-width: 700px)");
let selected = "";

const soft = (text) => element("p", { class: "soft" }, text);

function link(id) {
  const node = data.nodes[id], a = element("a", { href: `#n=${id}` }, node.label);
  a.onclick = (event) => {
    event.preventDefault();
    select(id);
    bring([cardOf(id)]);
  };
  return a;
}

function section(title, ...content) {
  return content.length ? [element("h3", {}, title), ...content] : [];
}

function list(items) {
  return items.length ? [element("ul", {}, ...items.map((item) => element("li", {}, ...[item].flat())))] : [];
}

function numbers(title, found) {
  if (!found) return [];
  const content = [];
  if (found.figures) {
    const entry = ([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value));
    content.push(element("dl", { class: "figures" }, ...found.figures.map(entry)));
  }
  if (found.rows?.length) {
    const row = (line) => {
      const [head, ...cells] = line.split("\t");
      return element("tr", {}, element("th", { scope: "row" }, head), ...cells.map((cell) => element("td", {}, cell)));
    };
    content.push(element("div", { class: "matrix", tabindex: "0", role: "region", "aria-label": `Numbers: ${title}` },
      element("table", {}, ...found.rows.map(row))));
    if (found.rest) content.push(soft(found.rest));
  }
  if (found.why) content.push(soft(found.why));
  const part = section(title, ...content);
  const box = element("section", { "data-of": title }, ...part);
  return [box];
}

function describe(id) {
  const node = data.nodes[id], side = data.sides.find((s) => s.prefix && id.startsWith(s.prefix));
  const operand = ([name, source]) => [name ? `${name}: ` : "", link(source), ` ${data.nodes[source].type}`];
  const consumer = ([name, target]) => [link(target), name ? ` as ${name}` : ""];
  const part = ([from, sent, total]) => from
    ? ["from ", link(from), `: ${sent}`, total === sent ? "" : `, so far ${total}`] : [`the seed: ${sent}`];
  const buffer = ([what, bytes, note, others]) => [`${what}  ${bytes}`, note ? `  ${note}` : "",
    ...(others.length ? ["; the same memory: ", ...others.flatMap((o, i) => [i ? ", " : "", link(o)])] : [])];
  const tags = [node.kind, node.count && `${node.count} times`].filter(Boolean);
  return [
    element("h2", {}, node.title),
    ...(node.name ? [element("p", {}, node.name)] : []),
    element("p", { class: "mono" }, node.type),
    ...(node.module || side ? [soft([side?.title, node.module].filter(Boolean).join(" / "))] : []),
    ...tags.map((tag) => element("span", { class: "tag" }, tag)),
    ...(node.troubles ?? []).map((text) => element("p", { class: "trouble" }, text)),
    ...(node.card ? [soft("drawn as part of "), link(node.card)] : []),
    ...section("attributes", ...list((node.attributes ?? []).map(([key, value]) => `${key} = ${value}`))),
    ...section("formula", ...(node.formula ? [element("pre", {}, node.formula)] : [])),
    ...section("vjp: how the gradient g is passed on", ...(node.vjp ? [element("pre", {}, node.vjp)] : [])),
    ...section("inputs", ...list((node.inputs ?? []).map(operand))),
    ...section("consumers", ...list((node.consumers ?? []).map(consumer))),
    ...numbers("value", node.value),
    ...numbers("gradient", node.gradient),
    ...section("the gradient came in parts", ...list((node.parts ?? []).map(part))),
    ...section("kept for the backward pass", ...list((node.kept ?? []).map(buffer))),
    ...section(`stands for ${node.members?.length} nodes`, ...list((node.members ?? []).map((m) => [link(m)]))),
    soft("Values are of the moment when the picture was drawn."),
  ];
}

function overview() {
  const graph = (side) => [
    element("h2", {}, side.title), soft(side.totals.join("   ")),
    ...[...side.remarks, side.note].filter(Boolean).map(soft),
    ...side.troubles.map(([id, text]) => element("p", { class: "trouble" }, link(id), `: ${text}`)),
  ];
  return [...data.sides.flatMap(graph), soft("Select a card for its formula, numbers, gradient and memory. Press ? for help.")];
}

// Show the details of a node; "" for those of the graph.
function select(id, open = true) {
  selected = id in data.nodes ? id : "";
  const card = cardOf(selected);
  for (const { id: other, g } of cards.values()) {
    g.classList.toggle("selected", other === card);
    if (other === card) g.setAttribute("aria-current", "true");
    else g.removeAttribute("aria-current");
  }
  if (card) reach(card);
  panel.replaceChildren(...(selected ? describe(selected) : overview()));
  panel.scrollTop = 0;
  if (open && selected) fold(false);
  remember();
}

function fold(closed) {
  document.body.classList.toggle("folded", closed);
  $("details").setAttribute("aria-expanded", String(!closed));
  area.covered = !closed && narrow.matches ? panel.offsetHeight : 0; // there the panel lies on the picture
}
$("details").onclick = () => fold(!document.body.classList.contains("folded"));

// One card is in the order of the Tab key: the one last used.
function reach(id) {
  for (const card of cards.values()) card.g.setAttribute("tabindex", card.id === id ? "0" : "-1");
}
for (const card of cards.values()) {
  const node = data.nodes[card.id];
  card.g.setAttribute("role", "button");
  card.g.setAttribute("aria-label", [node.label, node.type, node.module].filter(Boolean).join(", "));
  card.g.addEventListener("click", () => { 
    if (dragged) return;
    select(card.id);
    bring([card.id]);
  });
  card.g.addEventListener("focus", () => { reach(card.id); if (card.g.matches(":focus-visible")) bring([card.id]); });
  card.g.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      select(card.id);
      bring([card.id]);
    }
    const way = { ArrowUp: "inputs", ArrowDown: "consumers" }[event.key];
    const next = way && node[way]?.map(([, other]) => cardOf(other)).find(Boolean);
    if (event.key === "Enter" || way) event.preventDefault();
    if (next) cards.get(next).g.focus();
  });
}
if (cards.size) reach(cards.keys().next().value);

// The divider is dragged, or moved with the arrow keys.
const divider = $("divider");
function widen(pixels) {
  const width = Math.round(Math.min(640, Math.max(240, pixels)));
  document.documentElement.style.setProperty("--width", `${width}px`);
  divider.setAttribute("aria-valuenow", width);
}
divider.addEventListener("pointerdown", (event) => divider.setPointerCapture(event.pointerId));
divider.addEventListener("pointermove", (event) => {
  if (divider.hasPointerCapture(event.pointerId)) widen(innerWidth - event.clientX);
});
divider.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: 20, ArrowRight: -20 }[event.key];
  if (by) widen(panel.offsetWidth + by);
});
widen(384);
