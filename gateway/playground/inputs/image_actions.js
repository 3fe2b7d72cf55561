// What can be done with an image of the gallery: paint on it, extend it, start from it, refer to it, enlarge it.

import { addAction } from "../results/actions.js";
import { clearError, showError } from "../results/messages.js";
import * as settings from "../form/settings.js";
import * as initialImage from "./initial_image.js";
import * as references from "./references.js";

const $ = (id) => document.getElementById(id);

/** Add the buttons below the shown image. */
export function open() {
  addAction({ id: "edit", label: "Edit (mask)", when: initialImage.canMask, run: (image) => start(image, initialImage.paintMask) });
  addAction({ id: "extend", label: "Extend", when: initialImage.canMask, run: (image) => start(image, initialImage.extend) });
  addAction({ id: "vary", label: "Use as initial image", when: initialImage.canStart, run: (image) => start(image, focusPrompt) });
  addAction({ id: "refer", label: "Use as reference image", when: references.possible, run: refer });
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
