// The buttons below the shown image: each part of the page adds its own.

const $ = (id) => document.getElementById(id);
const actions = [];

let shown = null; // the record of the shown image

/**
 * Add a button for images: `run(image)` does it, `when(image)` tells whether the image can have it (default: always).
 * An action with the id of another one takes its place.
 */
export function addAction({ id, label, when = () => true, run }) {
  const button = Object.assign(document.createElement("button"), { type: "button", id, textContent: label });
  button.addEventListener("click", () => run(shown));
  const index = actions.findIndex((other) => other.button.id === id);
  if (index < 0) {
    $("shown-actions").append(button);
    actions.push({ button, when });
  } else {
    actions[index].button.replaceWith(button);
    actions[index] = { button, when };
  }
  button.hidden = !shown || !when(shown);
}

/** Offer the actions of this image; without one, look again at what the shown image can have. */
export function offer(image = shown) {
  shown = image;
  for (const { button, when } of actions) button.hidden = !shown || !when(shown);
}
