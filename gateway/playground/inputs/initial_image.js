// The initial image, a file that is selected, dropped or pasted, or an image of the gallery; and the mask on it.

import { load, loadDataUrl, release } from "../shared/images.js";
import { offerOwnSize } from "../form/settings.js";
import * as editor from "./editor.js";
import * as extending from "./extend.js";
import { makeCanvas, readLevels } from "./mask.js";
import { stripes } from "./view.js";

const $ = (id) => document.getElementById(id);
const PREVIEW = 128; // pixels of a side of the preview of a mask
const SOFT = 1 / 64; // the first mask's soft edge, as a share of the image's longer side
const MASKED_STRENGTH = 1; // as in edits: the masked part is made anew

let current = null; // the image
let mask = null; // the mask on it
let possible = true; // whether the model can start from an image
let paintable = true; // whether the model takes a mask
let sides; // the limits of the model's sides

/** Return the fields of a request for the initial image and its mask; none without an image. */
export function fields() {
  if (!current || !possible) return {};
  const request = { image: current.data, strength: $("strength").valueAsNumber };
  return mask && paintable ? { ...request, mask: mask.data } : request;
}

/** Use a file as the initial image. Throws an Error whose message is shown. */
export async function take(file) {
  show(await load(file));
}

/** Whether the model can start from an image. */
export function canStart() {
  return possible;
}

/** Whether the model takes a mask. */
export function canMask() {
  return possible && paintable;
}

/** Offer the field if the model can start from an image. */
export function setCapabilities({ image_to_image = true, inpainting = false, max_references = 0 } = {}, model) {
  possible = image_to_image || inpainting;
  paintable = inpainting;
  sides = model?.parameters?.width;
  $("initial-image-hint").textContent = max_references ? "or drop one here" : "or drop one anywhere";
  $("initial-image-field").hidden = !possible;
  offerOwnSize("initial image", Boolean(current && possible));
  showMask();
}

/** Connect the field; `onError` is called with errors. */
export function open(onError) {
  editor.open();
  extending.open();
  $("initial-image").addEventListener("change", () => {
    const file = $("initial-image").files[0];
    if (file) take(file).catch(onError);
  });
  $("initial-image-remove").addEventListener("click", () => {
    show(null);
    $("initial-image").focus();
  });
  $("mask-open").addEventListener("click", () => paintMask().catch(onError));
  $("extend-open").addEventListener("click", () => extend().catch(onError));
  $("mask-remove").addEventListener("click", () => {
    setMask(null);
    $("mask-open").focus();
  });
  $("strength").addEventListener("input", () => ($("strength-value").value = $("strength").value));
}

/** Restore the initial image and the mask of a request, or none. */
export async function restore({ image, mask: sent, strength }) {
  show(image ? await loadDataUrl(image) : null);
  if (image && sent) await setMask(await loadDataUrl(sent));
  if (image && strength !== undefined) setStrength(strength);
}

/** Let a mask be painted on the initial image, beginning with the present one. */
export async function paintMask() {
  const { naturalWidth, naturalHeight } = await decoded($("initial-image-preview"));
  const painted = await editor.edit(current, mask, Math.round(Math.max(naturalWidth, naturalHeight) * SOFT));
  if (!painted) return;
  if (!mask) setStrength(MASKED_STRENGTH);
  await setMask(await load(painted.blob));
}

/** Let the initial image be extended; what is added is masked. */
export async function extend() {
  const files = await extending.extendImage(current, sides);
  if (!files) return;
  const [image, surroundings] = await Promise.all([load(files.image), load(files.mask)]);
  show(image);
  setStrength(MASKED_STRENGTH);
  await setMask(surroundings);
}

function setStrength(strength) {
  $("strength").value = $("strength-value").value = strength;
}

function show(image) {
  release(current);
  current = image;
  if (image) $("initial-image-preview").src = image.url;
  else $("initial-image").value = "";
  $("images-group").open ||= Boolean(image);
  for (const id of ["initial-image-shown", "initial-image-actions", "strength-field"]) $(id).hidden = !image;
  $("initial-image-hint").hidden = Boolean(image);
  offerOwnSize("initial image", false); // the size of the previous one
  offerOwnSize("initial image", Boolean(image && possible));
  setMask(null);
}

async function setMask(image) {
  release(mask);
  mask = image;
  showMask();
  if (image) await drawPreview(await createImageBitmap(image.blob));
}

/** Show the buttons of the mask, as far as the model takes one. */
function showMask() {
  for (const id of ["mask-open", "extend-open"]) $(id).hidden = !paintable;
  $("mask-open").textContent = mask ? "Edit the mask" : "Paint a mask";
  for (const id of ["mask-remove", "mask-preview", "mask-note"]) $(id).hidden = !mask;
  if (mask && !paintable) $("mask-note").textContent = "The selected model takes no mask.";
}

/** Draw the mask over the preview of the image, and tell how much it repaints. */
async function drawPreview(bitmap) {
  const scale = PREVIEW / Math.max(bitmap.width, bitmap.height);
  const [width, height] = [Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale))];
  const { canvas, context } = makeCanvas(width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  const pixels = context.getImageData(0, 0, width, height);
  const levels = readLevels(pixels.data);
  levels.forEach((level, index) => (pixels.data[4 * index + 3] = level));
  context.putImageData(pixels, 0, 0);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = stripes(context);
  context.fillRect(0, 0, width, height);
  const shown = $("mask-preview").getContext("2d");
  shown.clearRect(0, 0, PREVIEW, PREVIEW);
  shown.drawImage(canvas, (PREVIEW - width) / 2, (PREVIEW - height) / 2);
  const share = levels.filter((level) => level >= 128).length / levels.length;
  if (paintable) $("mask-note").textContent = `${editor.formatShare(share)} of the image will be repainted.`;
}

async function decoded(image) {
  await image.decode();
  return image;
}
