// Pictures while they are made: a tile for each, how far they are, and what the queue says.

const $ = (id) => document.getElementById(id);

let shares = []; // how much of each picture is done, 0 to 1

/** Show as many empty tiles as pictures were asked for. */
export function begin(wanted) {
  const [width, height] = (wanted.size ?? "1x1").split("x").map(Number);
  const tiles = Array.from({ length: wanted.n ?? 1 }, () => {
    const tile = document.createElement("canvas");
    Object.assign(tile, { width, height, className: "tile" });
    shape(tile, width, height);
    tile.setAttribute("aria-hidden", "true");
    return tile;
  });
  shape($("making"), width, height);
  shares = tiles.map(() => 0);
  $("tiles").replaceChildren(...tiles);
  $("tiles").classList.toggle("several", tiles.length > 1);
  $("making").hidden = false;
  $("progress").removeAttribute("value"); // not known yet
  $("step").textContent = "Sent";
}

/** Hide all that. */
export function end() {
  $("making").hidden = true;
  $("tiles").replaceChildren();
}

/** Draw a picture, or what it looks like by now, into its tile. */
export async function draw(index, blob) {
  const bitmap = await createImageBitmap(blob);
  const tile = $("tiles").children[index];
  if (tile) {
    Object.assign(tile, { width: bitmap.width, height: bitmap.height });
    shape(tile, bitmap.width, bitmap.height);
    shape($("making"), bitmap.width, bitmap.height);
    tile.getContext("2d").drawImage(bitmap, 0, 0);
    tile.classList.add("drawn");
  }
  bitmap.close();
}

/** Give an element the shape of a picture. */
export function shape(element, width, height) {
  element.style.setProperty("--ratio", width / height);
}

/** Tell where the request is. */
export const TELL = {
  "tintype.queued": ({ position, eta }) => {
    $("step").textContent = position ? `${waiting(position)} before yours${about(eta)}` : "Yours is next";
  },
  "tintype.loading": ({ model, fraction }) => {
    $("step").textContent = `The model ${model} is loading: ${Math.round(100 * fraction)} %`;
  },
  "tintype.progress": ({ image_index, step, steps, eta }) => {
    const count = shares.length;
    shares[image_index] = step / steps;
    $("progress").value = shares.reduce((sum, done) => sum + done, 0) / count;
    const which = count > 1 ? `Picture ${image_index + 1} of ${count}: step` : "Step";
    $("step").textContent = `${which} ${step} of ${steps}${about(eta)}`;
  },
};

function waiting(position) {
  return position === 1 ? "One request" : `${position} requests`;
}

function about(seconds) {
  return seconds >= 1 ? `, about ${Math.round(seconds)} s` : "";
}
