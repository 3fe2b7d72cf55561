// The initial image: a file that is selected, dropped or pasted, or an image of this session.

import { load, loadDataUrl, release } from "../shared/images.js";
import { offerOwnSize } from "../form/settings.js";

const $ = (id) => document.getElementById(id);

let current = null; // the image
let possible = true; // whether the model can start from an image

/** Return the fields of a request for the initial image; none without one. */
export function fields() {
  return current && possible ? { image: current.data, strength: $("strength").valueAsNumber } : {};
}

/** Use a file as the initial image. Throws an Error whose message is shown. */
export async function take(file) {
  show(await load(file));
}

/** Offer the field if the model can start from an image. */
export function setCapabilities({ image_to_image = true, inpainting = false, max_references = 0 } = {}) {
  possible = image_to_image || inpainting;
  $("initial-image-hint").textContent = max_references ? "or drop one here" : "or drop one anywhere";
  $("initial-image-field").hidden = !possible;
  offerOwnSize("initial image", Boolean(current && possible));
}

/** Connect the field; `onError` is called with errors. */
export function open(onError) {
  $("initial-image").addEventListener("change", () => {
    const file = $("initial-image").files[0];
    if (file) take(file).catch(onError);
  });
  $("initial-image-remove").addEventListener("click", () => {
    show(null);
    $("initial-image").focus();
  });
  $("strength").addEventListener("input", () => ($("strength-value").value = $("strength").value));
}

/** Restore the initial image of a request, or none. */
export async function restore({ image, strength }) {
  show(image ? await loadDataUrl(image) : null);
  if (image) $("strength").value = $("strength-value").value = strength;
}

function show(image) {
  release(current);
  current = image;
  if (image) $("initial-image-preview").src = image.url;
  else $("initial-image").value = "";
  $("images-group").open ||= Boolean(image);
  for (const id of ["initial-image-preview", "initial-image-remove", "strength-field"]) $(id).hidden = !image;
  offerOwnSize("initial image", Boolean(image && possible));
}
