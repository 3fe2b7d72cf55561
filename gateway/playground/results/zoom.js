// Zoom of the shown image: fitted, or in per cent of its pixels; moved by dragging; over the whole screen.

const $ = (id) => document.getElementById(id);
const LEVELS = [0.25, 0.5, 1, 2, 4, 8];
const CLICK = 4; // pixels that a pointer may move in a click

let level = 0; // CSS pixels for each of the image's; 0: fitted

/** Connect the buttons, the wheel and the pointer. */
export function open() {
  $("zoom-in").addEventListener("click", () => step(1));
  $("zoom-out").addEventListener("click", () => step(-1));
  $("zoom-fit").addEventListener("click", () => set(level ? 0 : 1));
  $("full-screen").addEventListener("click", toggleFullScreen);
  $("shown-frame").addEventListener("wheel", onWheel, { passive: false });
  $("shown-frame").addEventListener("pointerdown", drag);
  document.addEventListener("fullscreenchange", () => showFullScreen(Boolean(document.fullscreenElement)));
}

/** Show the whole image. */
export function fit() {
  set(0);
}

/** Enlarge (1) or reduce (-1) the image by one level, around a point of the window: by default the middle. */
export function step(direction, point) {
  const now = scale();
  const levels = direction > 0 ? LEVELS : [...LEVELS].reverse();
  const next = levels.find((one) => direction * (one - now) > 0.001);
  if (next) set(next, point);
}

/** Show the image over the whole screen, or in the page again. */
export function toggleFullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else if ($("shown-view").requestFullscreen) $("shown-view").requestFullscreen().catch(() => showFullScreen(true));
  else showFullScreen(!isFullScreen()); // as on an iPhone
}

/** Leave the whole screen. Returns whether it was left. */
export function leaveFullScreen() {
  const was = isFullScreen();
  if (document.fullscreenElement) document.exitFullscreen();
  showFullScreen(false);
  return was;
}

function isFullScreen() {
  return $("shown-view").classList.contains("full");
}

function showFullScreen(full) {
  $("shown-view").classList.toggle("full", full);
  $("full-screen").setAttribute("aria-pressed", String(full));
  fit();
}

function scale() {
  return $("shown-image").getBoundingClientRect().width / ($("shown-image").naturalWidth || 1);
}

function set(next, point) {
  const [frame, image] = [$("shown-frame"), $("shown-image")];
  const before = image.getBoundingClientRect();
  const area = frame.getBoundingClientRect();
  const [x, y] = point ?? [area.left + area.width / 2, area.top + area.height / 2];
  const share = [(x - before.left) / (before.width || 1), (y - before.top) / (before.height || 1)]; // of the image, kept below the point
  level = next;
  frame.classList.toggle("zoomed", Boolean(level));
  image.style.width = level ? `${image.naturalWidth * level}px` : "";
  $("zoom-fit").textContent = level ? `${Math.round(level * 100)} %` : "Fit";
  $("zoom-fit").setAttribute("aria-label", level ? `${Math.round(level * 100)} %: fit the image` : "Fit, now: show it at 100 %");
  if (!level) return;
  const after = image.getBoundingClientRect();
  frame.scrollLeft += after.left + share[0] * after.width - x;
  frame.scrollTop += after.top + share[1] * after.height - y;
}

/** Zoom with Ctrl and the wheel, or a pinch on a touchpad; over the whole screen, and when zoomed, with the wheel alone. */
function onWheel(event) {
  if (!event.ctrlKey && !event.metaKey && !isFullScreen()) return;
  event.preventDefault();
  step(event.deltaY < 0 ? 1 : -1, [event.clientX, event.clientY]);
}

/** Move a zoomed image with the pointer; a click changes between fitted and 100 %. */
function drag(event) {
  if (event.button || event.pointerType === "touch") return; // a finger scrolls
  const frame = $("shown-frame");
  const start = [event.clientX, event.clientY, frame.scrollLeft, frame.scrollTop];
  let moved = false;
  event.preventDefault(); // no drag of the image itself
  frame.setPointerCapture(event.pointerId);
  const move = ({ clientX, clientY }) => {
    moved ||= Math.hypot(clientX - start[0], clientY - start[1]) > CLICK;
    frame.scrollLeft = start[2] + start[0] - clientX;
    frame.scrollTop = start[3] + start[1] - clientY;
  };
  const end = () => {
    frame.removeEventListener("pointermove", move);
    if (!moved) set(level ? 0 : 1, [start[0], start[1]]);
  };
  frame.addEventListener("pointermove", move);
  frame.addEventListener("pointerup", end, { once: true });
}
