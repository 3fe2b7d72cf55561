// The selection of images in the list, and what can be done with several: download, compare, mark, delete.

import { saveAll } from "../history/archive.js";
import { remove, setFavourite } from "../history/collection.js";
import { compare } from "./compare.js";
import { scrollToElement } from "../shared/scrolling.js";
import { showToast } from "./toast.js";

const $ = (id) => document.getElementById(id);
const chosen = new Set(); // ids

let on = false;
let comparing = false; // the second image ends the selection
let last = ""; // the id that was toggled last
let options = { all: () => [], onChange() {} };

/** Connect the buttons. `all()` returns the images of the list, `onChange()` is called when the selection changes. */
export function open(given) {
  options = given;
  $("select").addEventListener("click", () => set(!on));
  $("selection-all").addEventListener("click", () => choose(options.all().map(({ id }) => id)));
  $("selection-compare").addEventListener("click", () => finishComparison());
  $("selection-download").addEventListener("click", () => download(selected()));
  $("selection-favourite").addEventListener("click", () => setFavourite([...chosen], !selected().every(({ favourite }) => favourite)));
  $("selection-delete").addEventListener("click", () => {
    discard([...chosen]);
    set(false);
  });
  $("images-download").addEventListener("click", () => download(options.all()));
  $("images-delete").addEventListener("click", askToDelete);
  $("delete-confirm").addEventListener("click", () => {
    $("delete-dialog").close();
    discard(options.all().map(({ id }) => id));
  });
  $("delete-cancel").addEventListener("click", () => $("delete-dialog").close());
}

/** Whether images are being selected. */
export function active() {
  return on;
}

export function has(id) {
  return chosen.has(id);
}

/** Select an image or not; with `range` also those between it and the one before. */
export function toggle(id, range = false) {
  const ids = options.all().map((image) => image.id);
  const [from, to] = [ids.indexOf(range ? last : id), ids.indexOf(id)].sort((one, other) => one - other);
  const selects = !chosen.has(id);
  for (const one of from < 0 ? [id] : ids.slice(from, to + 1)) {
    if (selects) chosen.add(one);
    else chosen.delete(one);
  }
  last = id;
  if (comparing && chosen.size === 2) return finishComparison();
  show();
}

/** Select the image that is compared with the next one that is chosen. */
export function beginComparison({ id }) {
  set(true);
  comparing = true;
  choose([id]);
  scrollToElement($("gallery"), "nearest");
}

/** End the selection. Returns whether there was one. */
export function cancel() {
  const was = on;
  set(false);
  return was;
}

/** Delete images, with an undo; they are said to be deleted when a reload does not bring them back. */
export async function discard(ids) {
  if (!ids.length) return;
  const { stored, undo, commit } = remove(ids);
  await stored;
  const text = ids.length === 1 ? "The image is deleted." : `${ids.length} images are deleted.`;
  showToast(text, { label: "Undo", act: undo, onEnd: commit });
}

async function download(images) {
  const abort = new AbortController();
  const text = (done) => `Packing ${done} of ${images.length} images.`;
  const toast = showToast(text(0), { label: "Cancel", act: () => abort.abort(), seconds: 0 });
  try {
    await saveAll(images, { onProgress: (done) => done % 25 || toast.update(text(done)), signal: abort.signal });
    showToast(`${images.length} images are in the archive, with their settings.`);
  } catch (error) {
    if (error.name !== "AbortError") showToast(error.message);
  }
}

function askToDelete() {
  const images = options.all();
  const favourites = images.filter(({ favourite }) => favourite).length;
  $("delete-text").textContent = `${images.length} images will be deleted from this browser${favourites ? `, ${favourites} of them favourites` : ""}.`;
  $("delete-dialog").showModal();
}

function finishComparison() {
  const [first, second] = selected().map(({ id }) => id).reverse(); // the older one first
  set(false);
  compare(first, second);
}

function selected() {
  return options.all().filter(({ id }) => chosen.has(id));
}

function choose(ids) {
  chosen.clear();
  for (const id of ids) chosen.add(id);
  show();
}

function set(active) {
  on = active;
  comparing = false;
  last = "";
  choose([]);
}

function show() {
  const count = chosen.size;
  $("select").setAttribute("aria-pressed", String(on));
  $("select").textContent = on ? "Done" : "Select";
  $("selection").hidden = !on;
  $("selection-text").textContent = comparing ? "Choose the image to compare with." : `${count} selected`;
  $("selection-compare").disabled = count !== 2;
  for (const id of ["selection-download", "selection-favourite", "selection-delete"]) $(id).disabled = !count;
  for (const id of ["selection-all", "selection-compare", "selection-download", "selection-favourite", "selection-delete"]) $(id).hidden = comparing;
  options.onChange();
}
