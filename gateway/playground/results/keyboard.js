// Keys of the page, and the dialog that lists them. Keys that type a character work only where no text is entered.

import * as queue from "./queue.js";
import * as selection from "./selection.js";
import * as viewer from "./viewer.js";
import * as zoom from "./zoom.js";

const $ = (id) => document.getElementById(id);
const TYPING = "input:not([type=checkbox], [type=radio], [type=file]), textarea, select, [contenteditable]";

let options = { run() {}, step() {} };

/** Connect the keys. `run()` queues the request of the form, `step(distance)` shows another image. */
export function open(given) {
  options = given;
  document.addEventListener("keydown", onKey);
  $("keys-open").addEventListener("click", () => $("keys").showModal());
  $("keys-close").addEventListener("click", () => $("keys").close());
}

function onKey(event) {
  if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) return options.run();
  if (event.key === "Escape") return escape();
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest(TYPING)) return;
  if (event.key === "?") return $("keys").showModal();
  const image = viewer.current();
  const act = image && ACTS[event.key];
  if (!act) return;
  event.preventDefault();
  act(image);
}

/** End what is open, the innermost first: the whole screen, a selection, the newest request. */
function escape() {
  if (!zoom.leaveFullScreen() && !selection.cancel()) queue.cancelNewest();
}

const ACTS = {
  ArrowLeft: () => options.step(-1),
  ArrowRight: () => options.step(1),
  Delete: ({ id }) => selection.discard([id]),
  "+": () => zoom.step(1),
  "-": () => zoom.step(-1),
  0: () => zoom.fit(),
  f: () => zoom.toggleFullScreen(),
  s: () => $("favourite").click(),
  c: (image) => selection.beginComparison(image),
};
