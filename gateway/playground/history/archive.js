// Downloads: one image, or several with their settings as one archive.

import { load, withoutBytes } from "./store.js";
import { zip } from "./zip.js";

const LIFETIME = 60_000; // milliseconds that a download may take to begin
const WORDS = 6; // of the prompt in a file's name

/** Return the name of an image's file: time, seed and the first words of the prompt. */
export function fileName({ created, request, type, grid }) {
  const when = new Date(created - new Date(created).getTimezoneOffset() * MINUTE).toISOString().slice(0, 19).replace(/[-:]/g, "").replace("T", "-");
  const words = request.prompt.toLowerCase().match(/[\p{L}\p{N}]+/gu)?.slice(0, WORDS).join("-").slice(0, 60) ?? "image";
  const kind = grid ? "grid" : `seed${request.seed}`;
  return `${when}-${kind}-${words}.${type.replace("image/", "")}`;
}

const MINUTE = 60_000; // milliseconds

/** Save a blob as a file. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), LIFETIME);
}

/** Save images, newest first, and `settings.json`; `onProgress(done)` is called after each. Aborted by `signal`. */
export async function saveAll(images, { onProgress, signal }) {
  const archive = await zip(files(images, onProgress, signal));
  save(archive, `tintype-${images.length}-images.zip`);
}

async function* files(images, onProgress, signal) {
  const settings = [];
  const names = new Set();
  for (const [index, image] of images.entries()) {
    signal?.throwIfAborted();
    const file = await load(image.id);
    onProgress(index + 1);
    if (!file) continue; // deleted in another tab
    const name = unique(fileName(image), names);
    const { created, width, height, favourite, grid } = image;
    settings.push({ file: name, created: new Date(created).toISOString(), width, height, favourite, grid, request: withoutBytes(file.request) });
    yield { name, blob: file.blob, date: new Date(created) };
  }
  const json = new Blob([JSON.stringify(settings, null, 2)], { type: "application/json" });
  yield { name: "settings.json", blob: json, date: new Date() };
}

function unique(name, names) {
  const dot = name.lastIndexOf(".");
  let found = name;
  for (let number = 2; names.has(found); number++) found = `${name.slice(0, dot)}-${number}${name.slice(dot)}`;
  names.add(found);
  return found;
}
