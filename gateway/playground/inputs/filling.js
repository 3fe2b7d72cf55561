// An image with more around it, for a model to paint on: filled by colours of the image, and masked.

import { makeCanvas } from "./mask.js";

const BLUR = 12; // factor by which the surroundings are reduced and enlarged again, which blurs them
const NOISE = 150; // levels between the darkest and the brightest noise
const FILLS = { mirror, edges, noise };

/** Return the sides {left, top, right, bottom} with whole sums: each extended side of the image becomes a multiple.
 *
 * What is missing is added at the side that was extended more, at least at one.
 */
export function snap(sides, { width, height }, multiple) {
  const snapped = { ...sides };
  for (const [first, second, length] of [["left", "right", width], ["top", "bottom", height]]) {
    const added = snapped[first] + snapped[second];
    if (!added) continue;
    const missing = (multiple - ((length + added) % multiple)) % multiple;
    snapped[snapped[first] > snapped[second] ? first : second] += missing;
  }
  return snapped;
}

/** Return the size of an image with more at its sides. */
export function extendedSize({ left, top, right, bottom }, { width, height }) {
  return { width: width + left + right, height: height + top + bottom };
}

/** Return a canvas with the image and its surroundings, filled as `fill` says. */
export function extend(image, sides, fill) {
  const { width, height } = extendedSize(sides, image);
  const { canvas, context } = makeCanvas(width, height);
  FILLS[fill](context, image, sides, width, height);
  context.drawImage(image, sides.left, sides.top);
  return canvas;
}

/** Return a canvas with the mask of the surroundings: white there, and grey towards the inside over `overlap` pixels. */
export function surroundingsMask(image, sides, overlap) {
  const { width, height } = extendedSize(sides, image);
  const { canvas, context } = makeCanvas(width, height);
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  const steps = Math.max(1, Math.round(overlap));
  for (let step = 1; step <= steps; step += 1) { // nested rectangles, each a little darker
    const level = Math.round(255 * (1 - step / steps));
    context.fillStyle = `rgb(${level} ${level} ${level})`;
    const inset = (side) => (side ? Math.min(step - 1, Math.floor(Math.min(image.width, image.height) / 2)) : 0);
    const [left, top] = [sides.left + inset(sides.left), sides.top + inset(sides.top)];
    const [right, bottom] = [width - sides.right - inset(sides.right), height - sides.bottom - inset(sides.bottom)];
    context.fillRect(left, top, right - left, bottom - top);
  }
  return canvas;
}

/** Reflect the image at its edges, blurred. */
function mirror(context, image, { left, top }, width, height) {
  const columns = range(-Math.ceil(left / image.width), Math.ceil((width - left) / image.width));
  const rows = range(-Math.ceil(top / image.height), Math.ceil((height - top) / image.height));
  for (const row of rows) {
    for (const column of columns) {
      context.save();
      context.translate(left + (column + (column & 1)) * image.width, top + (row + (row & 1)) * image.height);
      context.scale(column & 1 ? -1 : 1, row & 1 ? -1 : 1);
      context.drawImage(image, 0, 0);
      context.restore();
    }
  }
  blur(context, width, height);
}

/** Continue the colours of the edges, blurred. */
function edges(context, image, { left, top, right, bottom }, width, height) {
  const columns = [[0, 1, 0, left], [0, image.width, left, image.width], [image.width - 1, 1, width - right, right]];
  const rows = [[0, 1, 0, top], [0, image.height, top, image.height], [image.height - 1, 1, height - bottom, bottom]];
  for (const [fromY, fromHeight, toY, toHeight] of rows) {
    for (const [fromX, fromWidth, toX, toWidth] of columns) {
      if (toWidth && toHeight) context.drawImage(image, fromX, fromY, fromWidth, fromHeight, toX, toY, toWidth, toHeight);
    }
  }
  blur(context, width, height);
}

/** Noise around the colours of the edges. */
function noise(context, image, sides, width, height) {
  edges(context, image, sides, width, height);
  const pixels = context.getImageData(0, 0, width, height);
  for (let at = 0; at < pixels.data.length; at += 4) {
    for (let channel = 0; channel < 3; channel += 1) pixels.data[at + channel] += (Math.random() - 0.5) * NOISE;
  }
  context.putImageData(pixels, 0, 0);
}

function blur(context, width, height) {
  const small = makeCanvas(Math.max(1, Math.round(width / BLUR)), Math.max(1, Math.round(height / BLUR)));
  small.context.imageSmoothingQuality = "high";
  small.context.drawImage(context.canvas, 0, 0, small.canvas.width, small.canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(small.canvas, 0, 0, width, height);
}

function range(from, to) {
  return Array.from({ length: to - from }, (_, index) => from + index);
}
