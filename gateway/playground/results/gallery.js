// The images that were made, newest first: page by page, with a search, favourites and a selection.

import * as collection from "../history/collection.js";
import { thumbnails } from "../history/store.js";
import * as selection from "./selection.js";
import * as viewer from "./viewer.js";

const $ = (id) => document.getElementById(id);
const PAGE = 60; // images that are added to the list at once

const tiles = new Map(); // from an image's id to {item, button, url}

let shownImages = []; // those of the search
let rendered = 0; // how many of them are in the list
let marked = ""; // the id of the image that is shown large

/** Read the history, and connect the list. `report(text)` shows problems. */
export async function open(report) {
  await collection.open(onChange, report);
  new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && more(), { rootMargin: "600px" }).observe($("gallery-end"));
  $("gallery-search").addEventListener("input", render);
  $("gallery-favourites").addEventListener("click", ({ currentTarget }) => {
    currentTarget.setAttribute("aria-pressed", String(currentTarget.getAttribute("aria-pressed") !== "true"));
    render();
  });
  selection.open({ all: () => shownImages, onChange: showSelection });
  render();
}

/**
 * Add an image: {blob, request}, and width, height and `grid` if known. Returns its record: {id, blob, type, url,
 * request, created, width, height}, whose `request` makes exactly this image again.
 */
export async function addImage(image) {
  return collection.add(image.width ? image : { ...image, ...(await sizeOf(image.blob)) });
}

async function sizeOf(blob) {
  const bitmap = await createImageBitmap(blob);
  const { width, height } = bitmap;
  bitmap.close();
  return { width, height };
}

/** Mark the image that is shown large, if any. */
export function mark(image) {
  tiles.get(marked)?.button.removeAttribute("aria-current");
  marked = image?.id ?? "";
  tiles.get(marked)?.button.setAttribute("aria-current", "true");
}

/** Show the image that is `distance` places after the shown one in the list (negative: before it). */
export async function step(distance) {
  const index = shownImages.findIndex(({ id }) => id === marked);
  const next = shownImages[index < 0 ? 0 : index + distance];
  if (!next) return;
  while (rendered < shownImages.length && !tiles.has(next.id)) await more();
  await choose(next.id);
  tiles.get(next.id)?.button.scrollIntoView({ block: "nearest" });
}

/** Return the place of an image in the list, such as "3 of 20"; empty if it is not there. */
export function place({ id }) {
  const index = shownImages.findIndex((image) => image.id === id);
  return index < 0 ? "" : `${index + 1} of ${shownImages.length}`;
}

async function choose(id) {
  const image = await collection.load(id);
  if (image) viewer.choose(image);
}

function filters() {
  return [$("gallery-search").value.trim(), $("gallery-favourites").getAttribute("aria-pressed") === "true"];
}

/** Show the first page of the images of the search. */
function render() {
  for (const id of tiles.keys()) drop(id);
  shownImages = collection.matching(...filters());
  rendered = 0;
  update();
  return more();
}

/** Add a page to the list. */
async function more() {
  const page = shownImages.slice(rendered, rendered + PAGE);
  rendered += page.length;
  for (const image of page) if (!tiles.has(image.id)) $("images").append(createTile(image));
  await drawThumbnails(page);
  const end = $("gallery-end").getBoundingClientRect();
  if (page.length === PAGE && end.top < innerHeight + 600 && end.width) await more(); // the observer is silent if it stays in sight
}

async function drawThumbnails(images) {
  const found = await thumbnails(images.map(({ id }) => id));
  for (const [index, { id }] of images.entries()) {
    const tile = tiles.get(id);
    if (!tile || !found[index] || tile.url) continue;
    tile.url = URL.createObjectURL(found[index]);
    tile.button.querySelector("img").src = tile.url;
  }
}

function createTile(image) {
  const { id, request } = image;
  const button = Object.assign(document.createElement("button"), { type: "button", title: request.prompt });
  const name = image.grid ? `Grid: ${request.prompt}` : `${request.prompt}, seed ${request.seed}`;
  button.append(Object.assign(new Image(), { alt: name, decoding: "async" }));
  button.addEventListener("click", (event) => (selection.active() ? selection.toggle(id, event.shiftKey) : choose(id)));
  const item = document.createElement("li");
  item.append(button);
  tiles.set(id, { item, button, url: "" });
  paint(image);
  return item;
}

/** Show what a tile says about its image: shown, favourite, selected. */
function paint({ id, favourite }) {
  const { item, button } = tiles.get(id);
  item.classList.toggle("favourite", Boolean(favourite));
  if (id === marked) button.setAttribute("aria-current", "true");
  if (selection.active()) button.setAttribute("aria-pressed", String(selection.has(id)));
  else button.removeAttribute("aria-pressed");
}

function showSelection() {
  $("images").classList.toggle("selecting", selection.active());
  for (const image of shownImages) if (tiles.has(image.id)) paint(image);
}

function drop(id) {
  const { item, url } = tiles.get(id);
  if (url) URL.revokeObjectURL(url);
  item.remove();
  tiles.delete(id);
}

function onChange({ kind, image, ids = [] }) {
  if (kind === "restored") return render();
  if (kind === "added" && collection.matches(image, ...filters())) {
    shownImages.unshift(image);
    rendered++;
    $("images").prepend(createTile(image));
    drawThumbnails([image]);
  } else if (kind === "changed") {
    for (const id of ids) if (tiles.has(id)) paint(collection.find(id));
    viewer.refresh(collection.find);
  } else if (kind === "removed") {
    removeTiles(new Set(ids));
  }
  update();
}

function removeTiles(ids) {
  const index = shownImages.findIndex(({ id }) => id === marked);
  const next = shownImages.slice(Math.max(0, index)).concat(shownImages.slice(0, Math.max(0, index)).reverse()).find(({ id }) => !ids.has(id));
  rendered -= shownImages.slice(0, rendered).filter(({ id }) => ids.has(id)).length;
  shownImages = shownImages.filter(({ id }) => !ids.has(id));
  for (const id of ids) if (tiles.has(id)) drop(id);
  if (!ids.has(marked)) return;
  if (next) choose(next.id);
  else viewer.clear();
}

/** Show how many images there are. */
function update() {
  const all = collection.matching().length;
  $("gallery").hidden = !all;
  $("gallery-count").textContent = shownImages.length === all ? `${all}` : `${shownImages.length} of ${all}`;
  $("gallery-none").hidden = shownImages.length > 0;
  for (const id of ["images-download", "images-delete"]) $(id).disabled = !shownImages.length;
}
