// The controls: stepping, playing, keys, the address, light and dark.
const PACE = 900; // milliseconds a step, at speed 1x
const slider = $("slider");
let timer = 0;
let remembering = 0;

// The cards whose turn it is.
function busy() {
  return framesAt(moment).filter((frame) => frame?.card).map((frame) => frame.card);
}

function go(t) {
  const moved = Math.min(LAST, Math.max(0, t)) !== moment;
  show(Math.min(LAST, Math.max(0, t)));
  slider.value = moment;
  const where = [...$("caption").querySelectorAll(".where")].map((e) => e.textContent);
  slider.setAttribute("aria-valuetext", where[0] ?? "start");
  $("count").textContent = `${moment} / ${LAST}`;
  $("start").disabled = $("back").disabled = moment === 0;
  $("step").disabled = $("end").disabled = moment === LAST;
  if (moved) bring(busy());
  remember();
}

function play(on) {
  clearTimeout(timer);
  timer = 0;
  document.body.classList.toggle("playing", on);
  $("play").setAttribute("aria-label", on ? "Pause" : "Play");
  $("caption").setAttribute("aria-live", on ? "off" : "polite"); // nothing could be read out so fast
  if (!on) return;
  if (moment === LAST) go(0);
  const tick = () => {
    go(moment + 1);
    if (moment === LAST) play(false);
    else timer = setTimeout(tick, PACE / $("speed").value);
  };
  timer = setTimeout(tick, PACE / $("speed").value);
}

function step(t) {
  play(false);
  go(t);
}

// The address is written when things have come to rest, in place of the one before: no history of every step.
function remember() {
  clearTimeout(remembering);
  remembering = setTimeout(() => {
    const hash = `#t=${moment}${selected ? `&n=${selected}` : ""}`;
    if (hash === location.hash) return;
    try {
      history.replaceState(null, "", hash);
    } catch { /* in a frame without an address of its own */ }
  }, 250);
}

function recall() {
  const asked = new URLSearchParams(location.hash.slice(1)), t = parseInt(asked.get("t") ?? LAST, 10);
  select(asked.get("n") ?? "", false);
  step(Number.isNaN(t) ? LAST : t);
  bring([...busy(), ...(selected ? [cardOf(selected)] : [])]);
}

$("start").onclick = () => step(0);
$("back").onclick = () => step(moment - 1);
$("step").onclick = () => step(moment + 1);
$("end").onclick = () => step(LAST);
$("play").onclick = () => play(!timer);
slider.oninput = () => step(Number(slider.value));
$("help").onclick = () => $("keys").showModal();

const KEYS = {
  ArrowRight: () => step(moment + 1),
  ArrowLeft: () => step(moment - 1),
  Home: () => step(0),
  End: () => step(LAST),
  " ": () => play(!timer),
  "/": () => { search.focus(); search.select(); },
  "?": () => $("keys").showModal(),
  "+": () => zoomBy(1.25),
  "=": () => zoomBy(1.25),
  "-": () => zoomBy(0.8),
  0: fit,
  Escape: () => {
    if (search.value) {
      search.value = "";
      find();
    } else if (selected) select("");
    else fold(true);
  },
};
addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open || !KEYS[key]) return;
  const own = target.closest?.("input, select, #divider, button, a") ?? null;
  if (own?.type === "search") return;
  if (own && key === " " && own.localName !== "input") return; // it presses the button
  if (own?.matches("select, #divider, #slider") && /^(Arrow|Home|End)/.test(key)) return;
  event.preventDefault();
  KEYS[key]();
});

const dark = matchMedia("(prefers-color-scheme: dark)");
function paint(theme) {
  document.documentElement.dataset.theme = theme;
  $("theme").setAttribute("aria-pressed", String(theme === "dark"));
}
$("theme").onclick = () => paint(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
dark.addEventListener("change", () => paint(dark.matches ? "dark" : "light"));
paint(dark.matches ? "dark" : "light");

const split = data.backward === null ? 100 : (100 * (data.backward - 1)) / LAST;
document.documentElement.style.setProperty("--split", `${split}%`);
document.documentElement.style.setProperty("--sides", data.sides.length);
$("phases").lastElementChild.hidden = data.backward === null;
slider.max = LAST;
fold(innerWidth < 1000); // until a card is selected
addEventListener("hashchange", recall);
Object.assign(area, { w: canvas.clientWidth, h: canvas.clientHeight });
look(...home());
recall();
document.body.dataset.ready = "yes";
