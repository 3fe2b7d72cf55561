// What can be done with an image of the gallery: paint on it, extend it, start from it, refer to it, enlarge it.

import { addAction, offer } from "../results/actions.js";
import { addImage } from "../results/gallery.js";
import { clearError, showError, showStatus } from "../results/messages.js";
import { canUpscale, upscale } from "../shared/api.js";
import { load, release } from "../shared/images.js";
import { choose } from "../results/viewer.js";
import * as settings from "../form/settings.js";
import * as initialImage from "./initial_image.js";
import * as references from "./references.js";

const $ = (id) => document.getElementById(id);
const FACTORS = [2, 4];
const MAX_SIDE = 8192; // pixels of a result of the upscaler
const MAX_PIXELS = 4096 * 4096;

let upscales = false; // whether the server enlarges images

/** Add the buttons below the shown image. */
export function open() {
  addAction({ id: "edit", label: "Edit (mask)", when: initialImage.canMask, run: (image) => start(image, initialImage.paintMask) });
  addAction({ id: "extend", label: "Extend", when: initialImage.canMask, run: (image) => start(image, initialImage.extend) });
  addAction({ id: "vary", label: "Use as initial image", when: initialImage.canStart, run: (image) => start(image, focusPrompt) });
  addAction({ id: "refer", label: "Use as reference image", when: references.possible, run: refer });
  for (const factor of FACTORS) {
    const when = (image) => upscales && fits(image, factor);
    addAction({ id: `upscale-${factor}`, label: `Upscale ×${factor}`, when, run: (image) => enlarge(image, factor) });
  }
}

/** Ask again what the server can do with images: it may have been away, or be another one now. */
export async function update() {
  upscales = await canUpscale().catch(() => upscales); // a server that can't be reached is reported with the models
  offer();
}

function fits({ width, height }, factor) {
  return factor * Math.max(width, height) <= MAX_SIDE && factor ** 2 * width * height <= MAX_PIXELS;
}

/** Enlarge an image, and add the result to the gallery. */
async function enlarge(image, factor) {
  const button = $(`upscale-${factor}`);
  clearError();
  showStatus(`Upscaling ×${factor}.`);
  button.disabled = true;
  try {
    const source = await load(image.blob);
    const blob = await upscale(source.data, factor, $("key").value);
    release(source);
    const [width, height] = [factor * image.width, factor * image.height];
    const request = { ...image.request, upscaled: factor * (image.request.upscaled ?? 1) };
    choose(await addImage({ blob, width, height, request }));
    showStatus(`Upscaled to ${width} × ${height} pixels.`);
  } catch (error) {
    showStatus("");
    showError(error);
  }
  button.disabled = false;
}

/** Fill the form with the request of an image, except its seed, to start from the image; then go on. */
async function start({ blob, request }, proceed) {
  clearError();
  settings.write({ ...request, seed: undefined });
  try {
    await initialImage.take(blob);
    await proceed();
  } catch (error) {
    showError(error);
  }
}

async function refer({ blob }) {
  clearError();
  await references.add([blob]).catch(showError);
  focusPrompt();
}

function focusPrompt() {
  $("prompt").focus();
}
