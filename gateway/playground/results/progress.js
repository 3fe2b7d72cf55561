// Images while they are made: a tile for each, their progress, and the position in the queue.

const $ = (id) => document.getElementById(id);

let shares = []; // the finished share of each image, 0 to 1

/** Show an empty tile for each image of a request. */
export function begin(request) {
  const [width, height] = (request.size ?? "1x1").split("x").map(Number);
  const tiles = Array.from({ length: request.n ?? 1 }, () => {
    const tile = document.createElement("canvas");
    Object.assign(tile, { width, height, className: "tile" });
    setRatio(tile, width, height);
    tile.setAttribute("aria-hidden", "true");
    return tile;
  });
  setRatio($("in-progress"), width, height);
  shares = tiles.map(() => 0);
  $("tiles").replaceChildren(...tiles);
  $("tiles").classList.toggle("several", tiles.length > 1);
  $("in-progress").hidden = false;
  $("progress").removeAttribute("value"); // not known yet
  $("step").textContent = "Sent";
}

/** Hide the tiles and the progress. */
export function end() {
  $("in-progress").hidden = true;
  $("tiles").replaceChildren();
}

/** Draw an image or a preview of it into its tile. */
export async function draw(index, blob) {
  const bitmap = await createImageBitmap(blob);
  const tile = $("tiles").children[index];
  if (tile) {
    Object.assign(tile, { width: bitmap.width, height: bitmap.height });
    setRatio(tile, bitmap.width, bitmap.height);
    setRatio($("in-progress"), bitmap.width, bitmap.height);
    tile.getContext("2d").drawImage(bitmap, 0, 0);
    tile.classList.add("drawn");
  }
  bitmap.close();
}

/** Give an element the aspect ratio of an image. */
export function setRatio(element, width, height) {
  element.style.setProperty("--ratio", width / height);
}

/** Show the progress of the request, by type of event. */
export const HANDLERS = {
  "tintype.queued": ({ position, eta }) => {
    $("step").textContent = position ? `${formatRequests(position)} before yours${formatEta(eta)}` : "Yours is next";
  },
  "tintype.loading": ({ model, fraction }) => {
    $("step").textContent = `The model ${model} is loading: ${Math.round(100 * fraction)} %`;
  },
  "tintype.progress": ({ image_index, step, steps, eta }) => {
    const count = shares.length;
    shares[image_index] = step / steps;
    $("progress").value = shares.reduce((sum, done) => sum + done, 0) / count;
    const which = count > 1 ? `Image ${image_index + 1} of ${count}: step` : "Step";
    $("step").textContent = `${which} ${step} of ${steps}${formatEta(eta)}`;
  },
};

function formatRequests(position) {
  return position === 1 ? "One request" : `${position} requests`;
}

function formatEta(seconds) {
  return seconds >= 1 ? `, about ${Math.round(seconds)} s` : "";
}
