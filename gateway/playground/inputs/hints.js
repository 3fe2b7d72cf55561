// Hints that ControlNets follow, made from an image: edges, lines, colours. Pure functions; as a worker this module makes
// one hint for each message {width, height, data, kind, low, high, invert}, and answers with its pixels.

const MAKERS = { edges, lines, colours, none: (image) => image.data };
const BLOCK = 16; // pixels of a side of the blocks of one colour
const RADIUS = 1.4; // standard deviation of the smoothing before edges are searched, in pixels

/** Return the pixels (RGBA) of a hint. `low` and `high` are the thresholds of edges, 0 to 255. */
export function makeHint({ kind, invert, ...image }) {
  const data = MAKERS[kind](image);
  if (invert) for (let at = 0; at < data.length; at += 4) for (let channel = 0; channel < 3; channel += 1) data[at + channel] = 255 - data[at + channel];
  return data;
}

/** Edges by Canny's method: one pixel wide, above `high`, or above `low` and connected to one above `high`. */
function edges({ width, height, data, low = 100, high = 200 }) {
  const { strength, across, down } = gradient(smooth(grey(data), width, height), width, height);
  const kept = new Uint8Array(width * height); // 1: above low, 2: an edge
  const pending = [];
  for (let y = 1; y < height - 1; y += 1) {
    for (let x = 1; x < width - 1; x += 1) {
      const at = y * width + x;
      const value = strength[at];
      if (value < low || !isRidge(strength, at, across[at], down[at], width)) continue;
      kept[at] = value >= high ? 2 : 1;
      if (value >= high) pending.push(at);
    }
  }
  connect(kept, pending, width);
  return toPixels(width * height, (at) => (kept[at] === 2 ? 255 : 0));
}

/** Whether the gradient is not larger beside a pixel, in the gradient's direction. */
function isRidge(strength, at, across, down, width) {
  const [ax, ay] = [Math.abs(across), Math.abs(down)];
  let step = across * down > 0 ? width + 1 : width - 1;
  if (ay <= 0.4142 * ax) step = 1;
  else if (ax <= 0.4142 * ay) step = width;
  return strength[at] >= strength[at - step] && strength[at] > strength[at + step];
}

/** Make weak pixels that touch edges edges, too. */
function connect(kept, pending, width) {
  const around = [-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1];
  while (pending.length) {
    const at = pending.pop();
    for (const step of around) {
      if (kept[at + step] !== 1) continue;
      kept[at + step] = 2;
      pending.push(at + step);
    }
  }
}

/** Soft lines: how much the brightness changes. */
function lines({ width, height, data }) {
  const { strength } = gradient(smooth(grey(data), width, height), width, height);
  const most = strength.reduce((largest, value) => Math.max(largest, value), 1);
  return toPixels(width * height, (at) => Math.round(255 * Math.sqrt(strength[at] / most)));
}

/** Blocks of the mean colour. */
function colours({ width, height, data }) {
  const result = new Uint8ClampedArray(data);
  for (let top = 0; top < height; top += BLOCK) {
    for (let left = 0; left < width; left += BLOCK) fillBlock(data, result, width, left, top, Math.min(width, left + BLOCK), Math.min(height, top + BLOCK));
  }
  return result;
}

function fillBlock(data, result, width, left, top, right, bottom) {
  const count = (right - left) * (bottom - top);
  for (let channel = 0; channel < 3; channel += 1) {
    let sum = 0;
    for (let y = top; y < bottom; y += 1) for (let x = left; x < right; x += 1) sum += data[4 * (y * width + x) + channel];
    for (let y = top; y < bottom; y += 1) for (let x = left; x < right; x += 1) result[4 * (y * width + x) + channel] = sum / count;
  }
}

function grey(data) {
  return Float32Array.from({ length: data.length / 4 }, (_, index) => {
    const at = 4 * index;
    return 0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2];
  });
}

/** Smooth by a Gaussian of five pixels, across and down. */
function smooth(values, width, height) {
  const weights = [-2, -1, 0, 1, 2].map((offset) => Math.exp(-(offset ** 2) / (2 * RADIUS ** 2)));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const clip = (value, most) => Math.min(most - 1, Math.max(0, value));
  const pass = (from, place) => {
    const to = new Float32Array(from.length);
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) {
        let sum = 0;
        for (let offset = -2; offset <= 2; offset += 1) sum += weights[offset + 2] * from[place(x, y, offset)];
        to[y * width + x] = sum / total;
      }
    }
    return to;
  };
  const across = pass(values, (x, y, offset) => y * width + clip(x + offset, width));
  return pass(across, (x, y, offset) => clip(y + offset, height) * width + x);
}

/** Return the gradient by Sobel's operator: across, down, and its strength as the sum of both. */
function gradient(values, width, height) {
  const [across, down, strength] = [0, 1, 2].map(() => new Float32Array(values.length));
  for (let y = 1; y < height - 1; y += 1) {
    for (let x = 1; x < width - 1; x += 1) {
      const at = y * width + x;
      const [a, b, c] = [values[at - width - 1], values[at - width], values[at - width + 1]];
      const [d, f] = [values[at - 1], values[at + 1]];
      const [g, h, i] = [values[at + width - 1], values[at + width], values[at + width + 1]];
      across[at] = c + 2 * f + i - a - 2 * d - g;
      down[at] = g + 2 * h + i - a - 2 * b - c;
      strength[at] = Math.abs(across[at]) + Math.abs(down[at]);
    }
  }
  return { across, down, strength };
}

function toPixels(count, level) {
  const data = new Uint8ClampedArray(4 * count).fill(255);
  for (let at = 0; at < count; at += 1) data.fill(level(at), 4 * at, 4 * at + 3);
  return data;
}

if (typeof document === "undefined") {
  globalThis.addEventListener("message", ({ data }) => {
    const pixels = makeHint(data);
    globalThis.postMessage(pixels, [pixels.buffer]);
  });
}
