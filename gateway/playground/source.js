// A picture to begin with: chosen, dropped anywhere on the page, pasted, or one that was made here.

import { follow } from "./settings.js";

const $ = (id) => document.getElementById(id);
const TYPES = new Set(["image/png", "image/jpeg", "image/webp"]);
const MOST = 16 * 2 ** 20; // bytes; the gateway takes larger bodies, but nobody wants to wait for them

let held = null; // the file, as a data: URL

/** Return the keys that a request gets from the picture; none without one. */
export function picture() {
  return held ? { image: held, strength: $("strength").valueAsNumber } : {};
}

/** Take a file as the picture to begin with. Throws an Error in words. */
export async function take(file) {
  if (!TYPES.has(file.type)) throw new Error("The picture must be a PNG, JPEG or WebP file.");
  if (file.size > MOST) throw new Error(`The picture must have at most ${MOST / 2 ** 20} MiB.`);
  held = await asUrl(file);
  URL.revokeObjectURL($("source-image").src);
  $("source-image").src = URL.createObjectURL(file);
  show(true);
}

/** Show the field, and let files come in by whatever way; `failed` gets what goes wrong. */
export function open(failed) {
  const taking = (file) => file && take(file).catch(failed);
  $("source-field").hidden = false;
  $("source").addEventListener("change", () => taking($("source").files[0]));
  $("source-remove").addEventListener("click", () => {
    remove();
    $("source").focus();
  });
  $("strength").addEventListener("input", () => ($("strength-value").value = $("strength").value));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget ?? calm());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    calm();
    taking(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => taking(event.clipboardData.files[0]));
}

/** Hold the picture that a request began with, or none. */
export async function restore({ image, strength }) {
  if (!image) return remove();
  const [kind, base64] = image.split(",");
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  await take(new Blob([bytes], { type: kind.slice("data:".length).split(";")[0] }));
  $("strength").value = $("strength-value").value = strength;
}

function remove() {
  held = null;
  $("source").value = "";
  show(false);
}

function show(there) {
  $("settings").open ||= there;
  for (const id of ["source-image", "source-remove", "strength-field"]) $(id).hidden = !there;
  follow(there);
}

function calm() {
  document.body.classList.remove("dragging");
}

function asUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error("The picture can't be read."));
    reader.readAsDataURL(file);
  });
}
