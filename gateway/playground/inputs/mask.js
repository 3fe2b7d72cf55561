// A mask: how much of each pixel of an image is repainted. Strokes, regions and their undoing; files of the gateway's
// convention, where white, or transparent, is repainted.

const MAX_SIDE = 2048; // pixels of the layer: larger images have a coarser mask
const MAX_HISTORY = 64 * 2 ** 20; // bytes of all steps that can be undone

/** Return a canvas of a size in pixels, and its context. */
export function makeCanvas(width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  return { canvas, context: canvas.getContext("2d", { willReadFrequently: true }) };
}

/** Return a canvas as a PNG file. */
export function toPng(canvas) {
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("The browser can't make an image of this size."))), "image/png");
  });
}

/** The mask of an image of `width` x `height` pixels. Coordinates are those of the image. */
export class Mask {
  constructor(width, height) {
    Object.assign(this, { width, height, softness: 0, version: 0 });
    this.scale = Math.min(1, MAX_SIDE / Math.max(width, height));
    const { canvas, context } = makeCanvas(Math.round(width * this.scale), Math.round(height * this.scale));
    Object.assign(this, { canvas, context }); // its alpha is the mask
    this.past = [];
    this.future = [];
  }

  /** Whether nothing is repainted. */
  get empty() {
    return !this.levels().some(Boolean);
  }

  /** Return the level of each pixel of the layer, 0 to 255, without the soft edge. */
  levels() {
    const { data } = this.context.getImageData(0, 0, this.canvas.width, this.canvas.height);
    const levels = new Uint8Array(data.length / 4);
    for (let index = 0; index < levels.length; index += 1) levels[index] = data[4 * index + 3];
    return levels;
  }

  /** Return the share that is repainted, 0 to 1. */
  share() {
    const levels = this.levels();
    return levels.reduce((count, level) => count + (level >= 128), 0) / levels.length;
  }

  /** Remember the present state, to which `undo` returns. Call it before a change. */
  remember() {
    this.past.push(this.levels());
    this.future = [];
    while (this.past.length > 1 && this.past.length * this.past[0].length > MAX_HISTORY) this.past.shift();
  }

  /** Return to the state before the last change, or again to the one after it. */
  undo() {
    this.exchange(this.past, this.future);
  }

  redo() {
    this.exchange(this.future, this.past);
  }

  exchange(from, to) {
    if (!from.length) return;
    to.push(this.levels());
    this.setLevels(from.pop());
  }

  /** Give up the change since `remember`. */
  giveUp() {
    if (this.past.length) this.setLevels(this.past.pop());
  }

  setLevels(levels) {
    this.context.putImageData(toImage(levels, this.canvas.width), 0, 0);
    this.version += 1;
  }

  /** Draw a line of round points between two places; `erase` removes. */
  line(from, to, size, erase) {
    this.draw(erase, (context) => {
      context.lineWidth = size;
      context.beginPath();
      context.moveTo(from.x, from.y);
      context.lineTo(to.x + 0.01, to.y); // without length there would be no point
      context.stroke();
    });
  }

  /** Fill a polygon of places. */
  polygon(places, erase) {
    this.draw(erase, (context) => {
      context.beginPath();
      for (const { x, y } of places) context.lineTo(x, y);
      context.fill();
    });
  }

  /** Mask everything, or nothing. */
  fill(everything) {
    this.setLevels(this.levels().fill(everything ? 255 : 0));
  }

  /** Mask what was not masked. */
  invert() {
    this.setLevels(this.levels().map((level) => 255 - level));
  }

  draw(erase, paint) {
    const { context } = this;
    context.save();
    context.scale(this.scale, this.scale);
    Object.assign(context, { lineCap: "round", fillStyle: "#fff", strokeStyle: "#fff" });
    context.globalCompositeOperation = erase ? "destination-out" : "source-over";
    paint(context);
    context.restore();
    this.version += 1;
  }

  /** Return a canvas whose alpha is the mask with its soft edge. */
  softened() {
    const radius = Math.round(this.softness * this.scale);
    if (!radius) return this.canvas;
    const { width, height } = this.canvas;
    const { canvas, context } = makeCanvas(width, height);
    context.putImageData(toImage(blur(this.levels(), width, height, radius), width), 0, 0);
    return canvas;
  }

  /** Return the mask as a PNG file in the image's size: white is repainted, black is kept. */
  toFile() {
    const { canvas, context } = makeCanvas(this.width, this.height);
    context.fillRect(0, 0, this.width, this.height);
    context.drawImage(this.softened(), 0, 0, this.width, this.height);
    return toPng(canvas);
  }

  /** Take the mask of an image: its transparent parts, or else its white ones. Throws an Error if its shape is wrong. */
  take(bitmap) {
    if (Math.abs(bitmap.width * this.height - bitmap.height * this.width) > 0.01 * bitmap.width * this.height + this.width) {
      throw new Error(`The mask must have the shape of the image, ${this.width} × ${this.height} pixels; it has ${bitmap.width} × ${bitmap.height}.`);
    }
    const { width, height } = this.canvas;
    const { context } = makeCanvas(width, height);
    context.drawImage(bitmap, 0, 0, width, height);
    this.setLevels(readLevels(context.getImageData(0, 0, width, height).data));
  }
}

/** Return the levels of a mask's pixels: 255 less their alpha if any is transparent, otherwise their brightness. */
export function readLevels(data) {
  const levels = new Uint8Array(data.length / 4);
  let transparent = false;
  for (let at = 3; at < data.length && !transparent; at += 4) transparent = data[at] < 255;
  for (let index = 0, at = 0; index < levels.length; index += 1, at += 4) {
    levels[index] = transparent ? 255 - data[at + 3] : Math.round(0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2]);
  }
  return levels;
}

/** Return levels with a soft edge: three means over boxes, which together are nearly a Gaussian of `radius` pixels. */
export function blur(levels, width, height, radius) {
  const half = Math.max(1, Math.round(radius / 2));
  let [from, to] = [Float32Array.from(levels), new Float32Array(levels.length)];
  for (let pass = 0; pass < 3; pass += 1) {
    for (let row = 0; row < height; row += 1) mean(from, to, row * width, 1, width, half);
    for (let column = 0; column < width; column += 1) mean(to, from, column, width, height, half);
  }
  return Uint8Array.from(from, Math.round);
}

/** Average a row or a column over `2 * half + 1` values; the values at its ends continue. */
function mean(from, to, start, step, count, half) {
  const at = (index) => from[start + Math.min(count - 1, Math.max(0, index)) * step];
  let sum = 0;
  for (let index = -half; index <= half; index += 1) sum += at(index);
  for (let index = 0; index < count; index += 1) {
    to[start + index * step] = sum / (2 * half + 1);
    sum += at(index + half + 1) - at(index - half);
  }
}

function toImage(levels, width) {
  const image = new ImageData(width, levels.length / width);
  for (let index = 0; index < levels.length; index += 1) {
    image.data.fill(255, 4 * index, 4 * index + 3);
    image.data[4 * index + 3] = levels[index];
  }
  return image;
}
