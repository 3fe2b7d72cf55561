// The stage: one image large with its settings, or a request while it runs, or the text at the start.

import { copy } from "../shared/clipboard.js";
import { fileName } from "../history/archive.js";
import { setFavourite } from "../history/collection.js";
import { offer } from "./actions.js";
import { setRatio } from "./entry.js";
import { describe } from "./facts.js";
import { curl, python } from "./snippets.js";
import * as zoom from "./zoom.js";

const $ = (id) => document.getElementById(id);

let shown = null; // the record of the image
let followed = null; // the entry of the queue whose tiles are shown
let free = true; // whether a finished image may take the place of the shown one
let options = { report() {}, needsKey: () => false, onChange() {}, place: () => "", step() {} };

/**
 * Connect the stage. `needsKey()` tells whether requests need a key, `report(text)` shows a status, `onChange(image)` is
 * called with each image that is shown, or null; `step(distance)` shows another one, `place(image)` is its place in words.
 */
export function open(given) {
  options = { ...options, ...given };
  const base = () => new URL(".", location.href).href.replace(/\/$/, "");
  const { report, needsKey, step } = options;
  $("curl").addEventListener("click", () => copy(curl(base(), shown.request, needsKey()), report));
  $("python").addEventListener("click", () => copy(python(base(), shown.request, needsKey()), report));
  $("copy-image").addEventListener("click", () => copyImage(report));
  $("favourite").addEventListener("click", () => setFavourite([shown.id], !shown.favourite));
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("shown-image").addEventListener("load", ({ target }) => {
    setRatio($("shown"), target.naturalWidth, target.naturalHeight);
    zoom.fit();
  });
  zoom.open();
}

/** Return the record of the shown image; null if none is visible. */
export function current() {
  return $("shown").hidden ? null : shown;
}

/** Show an image that the user has chosen: it stays until something new is asked for. */
export function choose(image) {
  free = false;
  show(image);
}

/** Show an image large. */
export function show(image) {
  unfollow();
  if (shown !== image) shown?.release?.();
  shown = image;
  $("shown-image").src = image.url;
  $("shown-image").alt = image.request.prompt;
  $("download").href = image.url;
  $("download").download = fileName(image);
  $("shown-prompt").textContent = image.request.prompt;
  $("shown-settings").replaceChildren(...describe(image.request, image.grid));
  reveal("shown");
  paint();
  offer(image);
  options.onChange(image);
  $("shown-place").textContent = options.place(image);
}

/** Show what has changed of the shown image: `find(id)` returns what is known of it. */
export function refresh(find) {
  const known = shown && find(shown.id);
  if (!known) return;
  shown.favourite = known.favourite;
  paint();
  offer(shown);
}

/** Show no image any more: the one that was shown is gone. */
export function clear() {
  shown?.release?.();
  shown = null;
  offer(null);
  if (!followed) back();
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
  options.onChange(shown);
}

function reveal(id) {
  for (const other of ["shown", "in-progress", "empty"]) $(other).hidden = other !== id;
}

function paint() {
  $("favourite").setAttribute("aria-pressed", String(Boolean(shown.favourite)));
}

/** Copy the image itself; browsers take only PNG. */
async function copyImage(report) {
  try {
    await navigator.clipboard.write([new ClipboardItem({ "image/png": asPng(shown.blob) })]);
    report("The image is copied.");
  } catch {
    report("This browser copies images only on https pages and on localhost: use Download.");
  }
}

async function asPng(blob) {
  if (blob.type === "image/png") return blob;
  const bitmap = await createImageBitmap(blob);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  return canvas.convertToBlob({ type: "image/png" });
}
