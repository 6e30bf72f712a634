// Which part of the picture is seen: zoom and pan by the viewBox, and following what happens.
const canvas = $("canvas");
const whole = svg.viewBox.baseVal;
const page = { x: whole.x, y: whole.y, width: whole.width, height: whole.height };
const shift = svg.querySelector("g.graph").transform.baseVal.consolidate().matrix;
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const view = { x: 0, y: 0, zoom: 1 }; // the upper left corner, and pixels per unit
const area = { w: canvas.clientWidth, h: canvas.clientHeight, covered: 0 }; // asking for it anew at each step would cost a layout
const LARGE = 150; // cards: painting more of them for every frame of a glide takes too long
let gliding = 0;
let touched = false; // has anything but a fit to the canvas been looked at?

svg.removeAttribute("width");
svg.removeAttribute("height");

function look(x, y, zoom) {
  Object.assign(view, { x, y, zoom });
  svg.setAttribute("viewBox", `${x} ${y} ${Math.max(1, area.w / zoom)} ${Math.max(1, area.h / zoom)}`);
}

function glide(x, y, zoom) {
  touched = true;
  cancelAnimationFrame(gliding);
  if (calm.matches || cards.size > LARGE) return look(x, y, zoom);
  const from = { ...view }, began = performance.now();
  const move = (now) => {
    const part = Math.min(1, Math.max(0, (now - began) / 220)), eased = 1 - (1 - part) ** 3;
    const between = (a, b) => a + (b - a) * eased;
    look(between(from.x, x), between(from.y, y), between(from.zoom, zoom));
    if (part < 1) gliding = requestAnimationFrame(move);
  };
  gliding = requestAnimationFrame(move);
}

// The whole picture, if it can be read so; else as wide as the canvas, from the top, or as high, from the left.
function home() {
  const { w, h } = area, across = w / page.width, down = h / page.height, all = Math.min(across, down);
  const readable = page.width > 1.5 * page.height ? Math.min(1, Math.max(0.6, down)) : Math.min(1.2, Math.max(0.45, across));
  const zoom = all >= 0.7 ? Math.min(all, 1.4) : readable;
  const left = Math.min(0, page.width - w / zoom) / 2, top = Math.min(0, page.height - h / zoom) / 2;
  return [page.x + left, page.y + top, zoom];
}

function fitted() {
  const { w, h } = area, zoom = Math.min(w / page.width, h / page.height, 1.4);
  return [page.x - (w / zoom - page.width) / 2, page.y - (h / zoom - page.height) / 2, zoom];
}

// The whole picture; once more, readable.
function fit() {
  const target = fitted(), there = Math.abs(view.zoom - target[2]) < 1e-3 && Math.abs(view.y - target[1]) < 1;
  glide(...(there ? home() : target));
}

function zoomBy(factor, px = area.w / 2, py = area.h / 2) {
  cancelAnimationFrame(gliding);
  const zoom = Math.min(8, Math.max(Math.min(0.1, fitted()[2]), view.zoom * factor));
  look(view.x + px / view.zoom - px / zoom, view.y + py / view.zoom - py / zoom, zoom);
}

// Where a card is in the picture.
function place(card) {
  const { x, y, width, height } = card.box;
  return { left: x * shift.a + shift.e, top: y * shift.d + shift.f, right: (x + width) * shift.a + shift.e, bottom: (y + height) * shift.d + shift.f };
}

// Bring cards into view, all of them if they fit, else the first; do nothing if they are in view, unless to centre.
function bring(ids, centre = false) {
  const places = ids.map((id) => cards.get(id)).filter(Boolean).map(place);
  if (!places.length) return;
  const w = area.w / view.zoom, h = (area.h - area.covered) / view.zoom, margin = 24 / view.zoom;
  const all = {
    left: Math.min(...places.map((p) => p.left)), right: Math.max(...places.map((p) => p.right)),
    top: Math.min(...places.map((p) => p.top)), bottom: Math.max(...places.map((p) => p.bottom)),
  };
  const fits = all.right - all.left + 2 * margin <= w && all.bottom - all.top + 2 * margin <= h;
  const p = fits ? all : places[0];
  const seenX = p.left >= view.x + margin && p.right <= view.x + w - margin;
  const seenY = p.top >= view.y + margin && p.bottom <= view.y + h - margin;
  if (seenX && seenY && !centre) return;
  const x = seenX && !centre ? view.x : (p.left + p.right - w) / 2, y = seenY && !centre ? view.y : (p.top + p.bottom - h) / 2;
  glide(x, y, view.zoom);
}

canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const at = canvas.getBoundingClientRect(), lines = event.deltaMode === 1 ? 16 : 1;
  const change = Math.max(-120, Math.min(120, event.deltaY * lines)) * (event.ctrlKey ? 0.01 : 0.002);
  zoomBy(Math.exp(-change), event.clientX - at.left, event.clientY - at.top);
}, { passive: false });

// One pointer drags, two pinch. A drag is no click on the card it began on.
const fingers = new Map();
let dragged = false;
canvas.addEventListener("pointerdown", (event) => {
  if (event.target.closest("button") || event.button > 0) return;
  fingers.set(event.pointerId, { x: event.clientX, y: event.clientY, from: [event.clientX, event.clientY] });
});
canvas.addEventListener("pointermove", (event) => {
  const finger = fingers.get(event.pointerId);
  if (!finger) return;
  const { clientX: x, clientY: y } = event;
  if (!dragged && Math.hypot(x - finger.from[0], y - finger.from[1]) < 4) return;
  if (!dragged) {
    dragged = true;
    canvas.classList.add("dragging");
    canvas.setPointerCapture(event.pointerId);
  }
  cancelAnimationFrame(gliding);
  if (fingers.size === 2) {
    const other = [...fingers.values()].find((f) => f !== finger), at = canvas.getBoundingClientRect();
    const before = Math.hypot(finger.x - other.x, finger.y - other.y), after = Math.hypot(x - other.x, y - other.y);
    if (before > 0) zoomBy(after / before, (x + other.x) / 2 - at.left, (y + other.y) / 2 - at.top);
    look(view.x - (x - finger.x) / 2 / view.zoom, view.y - (y - finger.y) / 2 / view.zoom, view.zoom);
  } else {
    look(view.x - (x - finger.x) / view.zoom, view.y - (y - finger.y) / view.zoom, view.zoom);
  }
  Object.assign(finger, { x, y });
});
for (const name of ["pointerup", "pointercancel"]) {
  addEventListener(name, (event) => {
    fingers.delete(event.pointerId);
    if (fingers.size) return;
    canvas.classList.remove("dragging");
    setTimeout(() => { dragged = false; }); // after the click that the browser makes of a drag
  });
}
canvas.addEventListener("dblclick", (event) => { if (!event.target.closest("g.node, button")) fit(); });
$("closer").onclick = () => zoomBy(1.25);
$("farther").onclick = () => zoomBy(0.8);
$("fit").onclick = fit;

// Letters of another font may be wider than those that the cards were made for. (At an odd size they are, too.)
look(...home());
for (const { g, box } of cards.values()) {
  const wide = [...g.querySelectorAll("text")].filter((text) => {
    const { x, width } = text.getBBox();
    return x + width > box.x + box.width - 2;
  });
  for (const text of wide) {
    text.setAttribute("textLength", box.x + box.width - 3 - text.getBBox().x);
    text.setAttribute("lengthAdjust", "spacingAndGlyphs");
  }
}

// What was in the middle stays there when the canvas changes its size; a picture not yet touched is fitted anew.
for (const name of ["pointerdown", "wheel"]) canvas.addEventListener(name, () => { touched = true; });
new ResizeObserver(() => {
  const { clientWidth: w, clientHeight: h } = canvas;
  if (w === area.w && h === area.h) return;
  const x = view.x + (area.w - w) / 2 / view.zoom, { y } = view;
  Object.assign(area, { w, h });
  if (touched) look(x, y, view.zoom);
  else look(...home());
}).observe(canvas);
