// The initial image: a file that is selected, dropped anywhere on the page or pasted, or an image of this session.

import { offerInitialSize } from "./settings.js";

const $ = (id) => document.getElementById(id);
const TYPES = new Set(["image/png", "image/jpeg", "image/webp"]);
const MAX_SIZE = 16 * 2 ** 20; // bytes; the gateway accepts larger bodies, but they take long

let current = null; // the file as a data: URL

/** Return the fields of a request for the initial image; none without one. */
export function fields() {
  return current ? { image: current, strength: $("strength").valueAsNumber } : {};
}

/** Use a file as the initial image. Throws an Error whose message is shown. */
export async function take(file) {
  if (!TYPES.has(file.type)) throw new Error("The image must be a PNG, JPEG or WebP file.");
  if (file.size > MAX_SIZE) throw new Error(`The image must have at most ${MAX_SIZE / 2 ** 20} MiB.`);
  current = await readAsDataUrl(file);
  URL.revokeObjectURL($("initial-image-preview").src);
  $("initial-image-preview").src = URL.createObjectURL(file);
  show(true);
}

/** Show the field and accept files; `onError` is called with errors. */
export function open(onError) {
  const takeIfPresent = (file) => file && take(file).catch(onError);
  $("initial-image-field").hidden = false;
  $("initial-image").addEventListener("change", () => takeIfPresent($("initial-image").files[0]));
  $("initial-image-remove").addEventListener("click", () => {
    remove();
    $("initial-image").focus();
  });
  $("strength").addEventListener("input", () => ($("strength-value").value = $("strength").value));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget ?? stopDragging());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    stopDragging();
    takeIfPresent(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => takeIfPresent(event.clipboardData.files[0]));
}

/** Restore the initial image of a request, or none. */
export async function restore({ image, strength }) {
  if (!image) return remove();
  const [kind, base64] = image.split(",");
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  await take(new Blob([bytes], { type: kind.slice("data:".length).split(";")[0] }));
  $("strength").value = $("strength-value").value = strength;
}

function remove() {
  current = null;
  $("initial-image").value = "";
  show(false);
}

function show(present) {
  $("settings").open ||= present;
  for (const id of ["initial-image-preview", "initial-image-remove", "strength-field"]) $(id).hidden = !present;
  offerInitialSize(present);
}

function stopDragging() {
  document.body.classList.remove("dragging");
}

function readAsDataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error("The image can't be read."));
    reader.readAsDataURL(file);
  });
}
