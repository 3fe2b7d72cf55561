// The reference images, which a model edits or refers to: a list whose order the prompt can name.

import { load, loadDataUrl, release } from "../shared/images.js";
import { offerOwnSize } from "../form/settings.js";

const $ = (id) => document.getElementById(id);
const ACTIONS = [
  ["up", "↑", (number) => `Move reference image ${number} up`, (index) => move(index, index - 1)],
  ["down", "↓", (number) => `Move reference image ${number} down`, (index) => move(index, index + 1)],
  ["remove", "Remove", (number) => `Remove reference image ${number}`, (index) => remove(index)],
];

let images = [];
let limit = 0; // the largest number that the model takes
let required = false; // whether the model needs one
let dragged = -1; // the index of the image that is dragged

/** Return the fields of a request for the images that the model takes; none without any. */
export function fields() {
  const used = images.slice(0, limit);
  return used.length ? { images: used.map(({ data }) => data) } : {};
}

/** Whether the model takes reference images. */
export function possible() {
  return limit > 0;
}

/** Add files to the list, as many as the model takes. Throws an Error whose message is shown. */
export async function add(files) {
  const taken = files.slice(0, Math.max(0, limit - images.length));
  const empty = taken.findIndex(({ size }) => !size);
  if (empty >= 0) throw new Error(`Image ${images.length + empty + 1} is empty.`);
  images.push(...(await Promise.all(taken.map(load))));
  $("images-group").open = true;
  render();
  if (taken.length === files.length) return;
  const added = taken.length ? `: only the first ${taken.length} of ${files.length} were added` : "";
  throw new Error(`This model takes at most ${limit} reference images${added}.`);
}

/** Offer the list if the model takes reference images. */
export function setCapabilities({ max_references = 0, requires_references = false } = {}) {
  limit = max_references;
  required = requires_references;
  $("references-field").hidden = !limit;
  $("references-hint").textContent = `or drop them anywhere; at most ${limit}`;
  render();
}

/** Connect the field; `onError` is called with errors. */
export function open(onError) {
  $("references-input").addEventListener("change", async ({ target }) => {
    await add([...target.files]).catch(onError);
    target.value = "";
  });
}

/** Restore the reference images of a request. */
export async function restore({ images: sent = [] }) {
  images.forEach(release);
  images = await Promise.all(sent.map(loadDataUrl));
  render();
}

function move(from, to) {
  const [image] = images.splice(from, 1);
  images.splice(to, 0, image);
  render();
  focusAction(to, from < to ? "down" : "up");
}

function remove(index) {
  release(images[index]);
  images.splice(index, 1);
  render();
  if (images.length) focusAction(Math.min(index, images.length - 1), "remove");
  else $("references-input").focus();
}

/** Focus a button of an image, or its counterpart if it is disabled at the end of the list. */
function focusAction(index, action) {
  const buttons = [...$("references").children[index].querySelectorAll("button:not(:disabled)")];
  (buttons.find(({ dataset }) => dataset.action === action) ?? buttons[0]).focus();
}

function render() {
  $("references").replaceChildren(...images.map(item));
  offerOwnSize("first reference image", Boolean(limit && images.length));
  const missing = limit && required && !images.length;
  $("references-input").setCustomValidity(missing ? "This model edits: add an image." : "");
}

function item({ url }, index) {
  const number = index + 1;
  const row = document.createElement("li");
  const name = document.createElement("span");
  name.textContent = number > limit ? `Image ${number}, not used by this model` : `Image ${number}`;
  row.append(Object.assign(new Image(), { src: url, alt: `Reference image ${number}`, draggable: false }), name);
  makeDraggable(row, index);
  for (const [action, text, label, act] of ACTIONS) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: text });
    button.dataset.action = action;
    button.setAttribute("aria-label", label(number));
    button.disabled = (action === "up" && index === 0) || (action === "down" && number === images.length);
    button.addEventListener("click", () => act(index));
    row.append(button);
  }
  return row;
}

/** Let a row be dragged to the place of another one; the buttons do the same by keyboard and on a phone. */
function makeDraggable(row, index) {
  const mark = (on) => row.classList.toggle("target", on && dragged >= 0 && dragged !== index);
  row.draggable = true;
  row.addEventListener("dragstart", ({ dataTransfer }) => {
    dragged = index;
    dataTransfer.effectAllowed = "move";
    dataTransfer.setData("text/plain", `Image ${index + 1}`); // without data Firefox drags nothing
  });
  row.addEventListener("dragend", () => (dragged = -1));
  row.addEventListener("dragover", () => mark(true));
  row.addEventListener("dragleave", () => mark(false));
  row.addEventListener("drop", () => {
    mark(false);
    if (dragged >= 0 && dragged !== index) move(dragged, index);
    dragged = -1;
  });
}
