// The stage: one image large with its settings, or a request while it runs, or the text at the start.

import { copy } from "../shared/clipboard.js";
import { offer } from "./actions.js";
import { setRatio } from "./entry.js";
import { describe } from "./facts.js";
import { curl, python } from "./snippets.js";

const $ = (id) => document.getElementById(id);

let shown = null; // the record of the image
let followed = null; // the entry of the queue whose tiles are shown
let free = true; // whether a finished image may take the place of the shown one
let onShow = () => {}; // is called with each image that is shown, or null

/** Connect the stage. `needsKey()` tells whether requests need a key, `report(text)` shows a status. */
export function open({ report, needsKey, onChange }) {
  onShow = onChange;
  const base = () => new URL(".", location.href).href.replace(/\/$/, "");
  $("curl").addEventListener("click", () => copy(curl(base(), shown.request, needsKey()), report));
  $("python").addEventListener("click", () => copy(python(base(), shown.request, needsKey()), report));
  $("shown-image").addEventListener("load", ({ target }) => setRatio($("shown"), target.naturalWidth, target.naturalHeight));
}

/** Return the record of the shown image, or null. */
export function current() {
  return shown;
}

/** Show an image that the user has chosen: it stays until something new is asked for. */
export function choose(image) {
  free = false;
  show(image);
}

/** Show an image large. */
export function show(image) {
  unfollow();
  shown = image;
  $("shown-image").src = image.url;
  $("shown-image").alt = image.request.prompt;
  $("shown-link").href = $("download").href = image.url;
  $("download").download = `tintype-${image.request.seed}.${image.type.replace("image/", "")}`;
  $("shown-prompt").textContent = image.request.prompt;
  $("shown-settings").replaceChildren(...describe(image.request));
  reveal("shown");
  offer(image);
  onShow(image);
}

/** Show no image any more: the one that was shown is gone. */
export function clear() {
  shown = null;
  offer(null);
  back();
}

/** Show the tiles of a request that was just asked for, unless another one is shown that still runs. */
export function follow(entry, { again = false } = {}) {
  free = true;
  if (followed && !again) return;
  unfollow();
  followed = entry;
  $("in-progress").replaceChildren(entry.view.tiles);
  reveal("in-progress");
}

/** Show the result of a finished request, unless the user looks at something else. */
export function finish(entry, image) {
  if (image && (followed === entry || (free && !followed))) show(image);
  else leave(entry);
}

/** Show what was shown before a request that ended without images. */
export function leave(entry) {
  if (followed !== entry) return;
  unfollow();
  back();
}

function unfollow() {
  followed?.view.takeTiles();
  followed = null;
}

function back() {
  reveal(shown ? "shown" : "empty");
  onShow(shown);
}

function reveal(id) {
  for (const other of ["shown", "in-progress", "empty"]) $(other).hidden = other !== id;
}
