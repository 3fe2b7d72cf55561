// One request of the queue as a row: its tiles, prompt, progress, and buttons. It knows nothing of the network.

const CANCEL = "Cancel";

/** Return the row of a request: {element, tiles, ...}, with its events as methods. */
export function createEntry({ request, label, tiles = createTiles(request), onCancel, onRetry, onDismiss, onOpen }) {
  const element = document.createElement("li");
  element.className = "entry";
  element.dataset.state = "waiting";
  const step = textIn("p", "step", "Waiting");
  const problem = alertIn("entry-problem");
  const bar = Object.assign(document.createElement("progress"), { max: 1, value: 0 });
  bar.setAttribute("aria-label", `Progress of ${label}`);
  const buttons = document.createElement("div");
  buttons.className = "entry-buttons";
  const about = document.createElement("div");
  about.className = "entry-about";
  const opener = button(label, "Show it large", onOpen);
  opener.className = "entry-prompt";
  about.append(opener, step, bar, problem);
  const cancel = button(CANCEL, `Cancel ${label}`, onCancel);
  cancel.classList.add("cancel");
  buttons.append(cancel);
  const place = document.createElement("div");
  place.className = "entry-tiles";
  place.append(tiles);
  element.append(place, about, buttons);
  const shares = Array.from(tiles.children, () => 0); // the finished share of each image, 0 to 1

  return {
    element,
    tiles,
    request,
    /** Put the tiles back into the row. */
    takeTiles: () => place.append(tiles),
    draw: (index, blob) => draw(tiles, index, blob),
    begin() {
      step.textContent = "Sent";
      bar.removeAttribute("value"); // not known yet
      problem.textContent = "";
      element.dataset.state = "running";
      buttons.replaceChildren(cancel);
    },
    wait(text = "Waiting") {
      step.textContent = text;
      problem.textContent = "";
      bar.value = 0;
      element.dataset.state = "waiting";
      buttons.replaceChildren(cancel);
    },
    fail(message) {
      step.textContent = "";
      problem.textContent = message;
      element.dataset.state = "failed";
      buttons.replaceChildren(
        button("Try again", `Try again: ${label}`, onRetry),
        button("Dismiss", `Dismiss ${label}`, onDismiss),
      );
    },
    /** Show a text and a share, 0 to 1. */
    show(text, share) {
      step.textContent = text;
      bar.value = share;
    },
    /** Show an event of the server; events of other kinds are skipped. */
    report(event) {
      const text = STEPS[event.type]?.(event, shares.length);
      if (text) step.textContent = text;
      if (event.type !== "tintype.progress") return;
      shares[event.image_index] = event.step / event.steps;
      bar.value = shares.reduce((sum, share) => sum + share, 0) / shares.length;
    },
  };
}

const STEPS = {
  "tintype.queued": ({ position, eta }) => (position ? `${formatRequests(position)} before yours${formatEta(eta)}` : "Yours is next"),
  "tintype.loading": ({ model, fraction }) => `The model ${model} is loading: ${Math.round(100 * fraction)} %`,
  "tintype.progress": ({ image_index, step, steps, eta }, count) => {
    const which = count > 1 ? `Image ${image_index + 1} of ${count}: step` : "Step";
    return `${which} ${step} of ${steps}${formatEta(eta)}`;
  },
};

function formatRequests(position) {
  return position === 1 ? "One request" : `${position} requests`;
}

function formatEta(seconds) {
  return seconds >= 1 ? `, about ${Math.round(seconds)} s` : "";
}

/** Return an empty tile for each image of a request. */
function createTiles(request) {
  const [width, height] = (request.size ?? "1x1").split("x").map(Number);
  const tiles = document.createElement("div");
  tiles.className = "tiles";
  for (let index = 0; index < (request.n ?? 1); index++) {
    const tile = Object.assign(document.createElement("canvas"), { width, height, className: "tile" });
    setRatio(tile, width, height);
    tile.setAttribute("aria-hidden", "true");
    tiles.append(tile);
  }
  tiles.classList.toggle("several", tiles.children.length > 1);
  return tiles;
}

/** Draw an image or a preview of it into its tile; return the size in pixels. */
async function draw(tiles, index, blob) {
  const bitmap = await createImageBitmap(blob);
  const { width, height } = bitmap;
  const tile = tiles.children[index];
  if (tile) {
    Object.assign(tile, { width, height });
    setRatio(tile, width, height);
    tile.getContext("2d").drawImage(bitmap, 0, 0);
    tile.classList.add("drawn");
  }
  bitmap.close();
  return { width, height };
}

/** Give an element the aspect ratio of an image. */
export function setRatio(element, width, height) {
  element.style.setProperty("--ratio", width / height);
}

function textIn(tag, className, textContent) {
  return Object.assign(document.createElement(tag), { className, textContent });
}

function alertIn(className) {
  const element = textIn("p", className, "");
  element.setAttribute("role", "alert");
  return element;
}

function button(textContent, title, act) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent, title });
  made.addEventListener("click", act);
  return made;
}
