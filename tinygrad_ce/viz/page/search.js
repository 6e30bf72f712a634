// Search by name, op and module: what matches stands out, Enter goes from one to the next.
const search = $("search");
let matches = [];
let at = -1;

const haystack = new Map(Object.keys(data.nodes).filter((id) => cards.has(id)).map((id) => {
  const own = (n) => [n.title, n.name, n.label, n.module, n.kind].filter(Boolean).join(" ");
  const members = data.nodes[id].members ?? [];
  return [id, [id, ...members].map((m) => own(data.nodes[m])).join(" ").toLowerCase()];
}));

function find() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  matches = words.length ? [...haystack].filter(([, text]) => words.every((w) => text.includes(w))).map(([id]) => id) : [];
  at = -1;
  for (const { id, g } of cards.values()) {
    g.classList.toggle("found", matches.includes(id));
    g.classList.toggle("other", words.length > 0 && !matches.includes(id));
  }
  for (const { g } of edges.values()) g.classList.toggle("other", words.length > 0);
  $("found").textContent = words.length ? `${matches.length} found` : "";
}

function next(by) {
  if (!matches.length) return;
  at = at < 0 ? (by > 0 ? 0 : matches.length - 1) : (at + by + matches.length) % matches.length;
  $("found").textContent = `${at + 1} of ${matches.length}`;
  select(matches[at], false);
  bring([matches[at]], true);
}

search.addEventListener("input", find);
search.addEventListener("keydown", (event) => {
  if (event.key === "Enter") next(event.shiftKey ? -1 : 1);
  if (event.key === "Escape") {
    event.stopPropagation();
    search.value = "";
    find();
    search.blur();
  }
});
