// An image in a canvas that can be zoomed and moved: by wheel, by two fingers, by buttons, and by a held Space.

const LARGEST = 32; // pixels of the window for one of the image
const STRIPE = 6; // pixels of the window: the overlay is striped, so that it is visible on any colour
const WHEEL = 0.0015; // share of the zoom for each pixel of the wheel

/** A canvas of the page that shows content of `width` x `height` pixels. `paint(context, view)` draws it. */
export class View {
  constructor(element, paint) {
    Object.assign(this, { element, paint, width: 1, height: 1, scale: 1, x: 0, y: 0, frame: 0 });
    this.context = element.getContext("2d");
    this.tint = document.createElement("canvas");
    this.fingers = new Map(); // places of the touching fingers by pointer
    new ResizeObserver(() => this.fit()).observe(element);
    element.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  /** Show content of another size, or another part of it: {left, top, width, height}. */
  show({ left = 0, top = 0, width, height }) {
    Object.assign(this, { left, top, width, height });
    this.fit();
  }

  /** Show everything, in the middle. */
  fit() {
    const { clientWidth, clientHeight } = this.element;
    if (!clientWidth) return;
    const ratio = globalThis.devicePixelRatio || 1;
    Object.assign(this.element, { width: clientWidth * ratio, height: clientHeight * ratio });
    Object.assign(this.tint, { width: clientWidth * ratio, height: clientHeight * ratio });
    this.smallest = Math.min((clientWidth - 24) / this.width, (clientHeight - 24) / this.height);
    this.scale = Math.min(LARGEST, this.smallest);
    this.x = (clientWidth - this.width * this.scale) / 2 - (this.left ?? 0) * this.scale;
    this.y = (clientHeight - this.height * this.scale) / 2 - (this.top ?? 0) * this.scale;
    this.refresh();
  }

  /** Zoom by a factor; the place `at` of the window, or its middle, stays. */
  zoom(factor, at = { x: this.element.clientWidth / 2, y: this.element.clientHeight / 2 }) {
    const scale = Math.min(LARGEST, Math.max(this.smallest / 4, this.scale * factor));
    this.x = at.x - ((at.x - this.x) * scale) / this.scale;
    this.y = at.y - ((at.y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.refresh();
  }

  /** Move the content by pixels of the window. */
  move(right, down) {
    this.x += right;
    this.y += down;
    this.refresh();
  }

  /** Return the place of an event in pixels of the content. */
  toContent({ clientX, clientY }) {
    const { x, y } = this.inElement({ clientX, clientY });
    return { x: (x - this.x) / this.scale, y: (y - this.y) / this.scale };
  }

  inElement({ clientX, clientY }) {
    const box = this.element.getBoundingClientRect();
    return { x: clientX - box.left - this.element.clientLeft, y: clientY - box.top - this.element.clientTop };
  }

  /** Note a finger; return whether there are two, which zoom and move. */
  press(event) {
    if (event.pointerType !== "touch") return false;
    this.fingers.set(event.pointerId, this.inElement(event));
    return this.fingers.size > 1;
  }

  lift({ pointerId }) {
    this.fingers.delete(pointerId);
  }

  /** Zoom and move by the first two fingers; return whether there are two. */
  pinch(event) {
    if (!this.fingers.has(event.pointerId)) return false;
    const before = [...this.fingers.values()].slice(0, 2);
    this.fingers.set(event.pointerId, this.inElement(event));
    const after = [...this.fingers.values()].slice(0, 2);
    if (after.length < 2) return false;
    const [middle, previous] = [between(after), between(before)];
    this.move(middle.x - previous.x, middle.y - previous.y);
    this.zoom(distance(after) / Math.max(1, distance(before)), middle);
    return true;
  }

  wheel(event) {
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === 1 ? 16 : 1);
    this.zoom(Math.exp(-pixels * WHEEL), this.inElement(event));
  }

  /** Paint again with the next frame. */
  refresh() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      const ratio = this.element.width / Math.max(1, this.element.clientWidth);
      this.context.setTransform(1, 0, 0, 1, 0, 0);
      this.context.clearRect(0, 0, this.element.width, this.element.height);
      this.context.setTransform(ratio * this.scale, 0, 0, ratio * this.scale, ratio * this.x, ratio * this.y);
      this.context.imageSmoothingEnabled = this.scale < 3;
      this.paint(this.context, this);
    });
  }

  /** Draw a layer over the content as stripes, as visible as its alpha. */
  overlay(layer, width, height) {
    const tint = this.tint.getContext("2d");
    tint.setTransform(1, 0, 0, 1, 0, 0);
    tint.globalCompositeOperation = "copy";
    tint.setTransform(this.context.getTransform());
    tint.drawImage(layer, 0, 0, width, height);
    tint.setTransform(1, 0, 0, 1, 0, 0);
    tint.globalCompositeOperation = "source-in";
    tint.fillStyle = this.stripes ??= stripes(tint);
    tint.fillRect(0, 0, this.tint.width, this.tint.height);
    this.context.save();
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    this.context.drawImage(this.tint, 0, 0);
    this.context.restore();
  }

  /** Draw an outline that is visible on any colour; `path(context)` makes it. */
  outline(path) {
    const { context } = this;
    for (const [style, width] of [["#000", 3], ["#fff", 1.2]]) {
      context.strokeStyle = style;
      context.lineWidth = width / this.scale;
      context.beginPath();
      path(context);
      context.stroke();
    }
  }
}

/** Return the fill of the overlay: stripes of two colours, both transparent. */
export function stripes(context) {
  const tile = Object.assign(document.createElement("canvas"), { width: 2 * STRIPE, height: 2 * STRIPE });
  const paint = tile.getContext("2d");
  paint.fillStyle = "rgb(226 20 110 / 62%)";
  paint.fillRect(0, 0, 2 * STRIPE, 2 * STRIPE);
  paint.strokeStyle = "rgb(255 170 210 / 62%)";
  paint.lineWidth = STRIPE / 3;
  for (const shift of [-STRIPE, 0, STRIPE]) {
    paint.moveTo(shift * 2, 2 * STRIPE);
    paint.lineTo((shift + STRIPE) * 2, 0);
  }
  paint.stroke();
  return context.createPattern(tile, "repeat");
}

function between([a, b]) {
  return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
}

function distance([a, b]) {
  return Math.hypot(a.x - b.x, a.y - b.y);
}
