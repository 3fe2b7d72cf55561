// The images that were made, newest first.

import * as viewer from "./viewer.js";

const $ = (id) => document.getElementById(id);
const buttons = new Map(); // from the id of an image to its button

/**
 * Add an image: {blob, request}, or a full record. Returns its record: {id, blob, type, url, request, created, width,
 * height}, whose `request` makes exactly this image again.
 */
export async function addImage(image) {
  const record = { id: `${Date.now()}-${Math.random()}`, type: image.blob.type, created: Date.now(), ...image };
  record.url ??= URL.createObjectURL(record.blob);
  const button = Object.assign(document.createElement("button"), { type: "button" });
  button.append(Object.assign(new Image(), { src: record.url, alt: `${record.request.prompt}, seed ${record.request.seed}` }));
  button.addEventListener("click", () => viewer.choose(record));
  const item = document.createElement("li");
  item.append(button);
  buttons.set(record.id, button);
  $("images").prepend(item);
  $("gallery").hidden = false;
  return record;
}

/** Mark the image that is shown large, if any. */
export function mark(image) {
  for (const [id, button] of buttons) {
    if (id === image?.id) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}
