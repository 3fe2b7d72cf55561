// The hint of a ControlNet, made in the browser from the chosen image and shown next to it.

import { load } from "../shared/images.js";
import { makeCanvas, toPng } from "./mask.js";

const KINDS = [["none", "as it is"], ["edges", "edges (Canny)"], ["lines", "soft lines"], ["colours", "blocks of colour"]];
const SUITED = [[/canny/i, "edges"], [/line|scribble|hed|soft/i, "lines"], [/tile|color|colour/i, "colours"]];
const NEEDS = [[/depth/i, "a depth map"], [/pose/i, "a drawn pose"], [/normal/i, "a normal map"], [/seg/i, "a segmentation"]];
const MAX_SIDE = 4096; // pixels
const USUAL_SIDE = 1024; // an image is not enlarged, which would blur its edges

/** The choice for one row. `changed(image)` is called with the hint, null while it is made. */
export class HintChoice {
  constructor(id, changed) {
    Object.assign(this, { changed, source: null, run: 0 });
    this.kind = document.createElement("select");
    this.kind.append(...KINDS.map(([value, text]) => new Option(text, value)));
    this.low = numberInput(0, 1000, 100);
    this.high = numberInput(0, 1000, 200);
    this.side = numberInput(64, MAX_SIDE, USUAL_SIDE);
    this.invert = Object.assign(document.createElement("input"), { type: "checkbox" });
    this.shown = [Object.assign(new Image(), { alt: "The chosen image" }), Object.assign(new Image(), { alt: "The hint that is sent" })];
    this.images = Object.assign(document.createElement("div"), { className: "hint-images" });
    this.images.append(...this.shown.map((image, index) => captioned(image, index ? "hint" : "image")));
    this.note = Object.assign(document.createElement("p"), { className: "hint" });
    const fields = [["kind", "Hint", this.kind], ["side", "Longer side", this.side], ["low", "Low", this.low], ["high", "High", this.high], ["invert", "Invert", this.invert]];
    this.boxes = Object.fromEntries(fields.map(([name, text, input]) => [name, labelled(`${id}-hint-${name}`, text, input)]));
    this.element = Object.assign(document.createElement("div"), { className: "hint-choice" });
    this.element.append(...Object.values(this.boxes), this.images, this.note);
    this.element.addEventListener("change", () => this.make());
  }

  /** Suggest what suits a ControlNet by its name. */
  suggest(name) {
    const need = NEEDS.find(([pattern]) => pattern.test(name))?.[1];
    this.note.textContent = need ? `This ControlNet reads ${need}, which the page can't make: choose one as the image.` : "";
    this.kind.value = SUITED.find(([pattern]) => pattern.test(name))?.[1] ?? "none";
    return this.make();
  }

  /** Use an image, {blob, url}; with `ready` it is a hint already. */
  async use(image, { ready = false } = {}) {
    this.source = image;
    if (ready) this.kind.value = "none";
    if (image) {
      const { width, height } = await createImageBitmap(image.blob);
      this.side.value = Math.min(USUAL_SIDE, Math.max(width, height));
    }
    return this.make();
  }

  /** Make the hint of the image, and show both. */
  async make() {
    const run = ++this.run;
    const { source } = this;
    for (const name of ["low", "high"]) this.boxes[name].hidden = this.kind.value !== "edges";
    const plain = this.kind.value === "none" && !this.invert.checked;
    this.boxes.side.hidden = plain;
    this.element.hidden = !source;
    this.images.hidden = plain;
    if (!source) return this.changed(null);
    if (plain) return this.changed(source);
    this.changed(null);
    const hint = await load(await this.draw(source));
    if (run !== this.run) return undefined; // another choice was made meanwhile
    [this.shown[0].src, this.shown[1].src] = [source.url, hint.url];
    return this.changed(hint);
  }

  /** Return the hint as a PNG file. */
  async draw({ blob }) {
    const bitmap = await createImageBitmap(blob);
    const side = Math.min(MAX_SIDE, Math.max(64, this.side.valueAsNumber || USUAL_SIDE));
    const scale = side / Math.max(bitmap.width, bitmap.height);
    const size = [bitmap.width, bitmap.height].map((length) => Math.max(3, Math.round(length * scale)));
    const { canvas, context } = makeCanvas(...size);
    context.drawImage(bitmap, 0, 0, ...size);
    const { data } = context.getImageData(0, 0, ...size);
    const [low, high] = [this.low, this.high].map((input) => input.valueAsNumber || 0);
    const options = { kind: this.kind.value, invert: this.invert.checked, low, high: Math.max(low, high) };
    const pixels = await inWorker({ width: size[0], height: size[1], data, ...options });
    context.putImageData(new ImageData(pixels, ...size), 0, 0);
    return toPng(canvas);
  }
}

/** Make a hint beside the page, which stays usable. */
function inWorker(message) {
  // The policy of the pages takes the address of a script only from a named source.
  const source = globalThis.trustedTypes?.createPolicy("tintype-worker", { createScriptURL: (url) => url });
  const address = new URL("hints.js", import.meta.url).href;
  const worker = new Worker(source ? source.createScriptURL(address) : address, { type: "module" });
  return new Promise((resolve, reject) => {
    worker.addEventListener("message", ({ data }) => resolve(data));
    worker.addEventListener("error", () => reject(new Error("The hint can't be made in this browser: choose a finished one.")));
    worker.postMessage(message, [message.data.buffer]);
  }).finally(() => worker.terminate());
}

function numberInput(min, max, value) {
  return Object.assign(document.createElement("input"), { type: "number", min, max, value });
}

function labelled(id, text, input) {
  const box = document.createElement("div");
  input.id = id;
  box.append(Object.assign(document.createElement("label"), { textContent: text, htmlFor: id }), input);
  return box;
}

function captioned(image, text) {
  const figure = document.createElement("figure");
  figure.append(image, Object.assign(document.createElement("figcaption"), { textContent: text }));
  return figure;
}
