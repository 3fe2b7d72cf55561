// Painting a mask by mouse, finger, pen or keys: the tools, and the cursor that shows where the next stroke falls.

const LIGHT = 0.35; // share of the brush's size at the lightest pressure of a pen
const KEY_STEP = 0.5; // share of the brush's size by which an arrow key moves the cursor
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Paints on the mask of `state`, {mask, tool, size}, shown by `view`; calls `done()` after each change. */
export class Painter {
  constructor(view, state, done) {
    Object.assign(this, { view, state, done, stroke: null, cursor: null });
    const { element } = view;
    element.addEventListener("pointerdown", (event) => this.begin(event));
    element.addEventListener("pointermove", (event) => this.go(event));
    for (const name of ["pointerup", "pointercancel"]) element.addEventListener(name, (event) => this.end(event));
    element.addEventListener("pointerleave", () => this.hideCursor());
    element.addEventListener("contextmenu", (event) => event.preventDefault()); // the right button erases
    element.addEventListener("blur", () => this.hideCursor());
    element.addEventListener("keydown", (event) => this.press(event));
  }

  begin(event) {
    const { view, state } = this;
    view.element.setPointerCapture(event.pointerId);
    if (view.press(event)) return this.abandon();
    if (event.button === 1 || state.tool === "hand") {
      this.moving = event;
      return undefined;
    }
    const place = view.toContent(event);
    const erase = state.tool === "eraser" || event.altKey || event.button === 2 || event.button === 5; // 5: a pen's end
    state.mask.remember();
    this.stroke = { erase, places: [place], last: place };
    if (!this.isRegion()) state.mask.line(place, place, this.width(event), erase);
    return view.refresh();
  }

  go(event) {
    const { view } = this;
    if (view.pinch(event)) return;
    this.cursor = view.toContent(event);
    if (this.moving) {
      view.move(event.clientX - this.moving.clientX, event.clientY - this.moving.clientY);
      this.moving = event;
    }
    const passed = event.getCoalescedEvents?.() ?? [];
    if (this.stroke) for (const one of passed.length ? passed : [event]) this.extend(one);
    view.refresh();
  }

  extend(event) {
    const { stroke } = this;
    const place = this.view.toContent(event);
    stroke.places.push(place);
    if (!this.isRegion()) this.state.mask.line(stroke.last, place, this.width(event), stroke.erase);
    stroke.last = place;
  }

  end(event) {
    this.view.lift(event);
    this.moving = null;
    const { stroke } = this;
    if (!stroke) return;
    this.stroke = null;
    if (this.isRegion()) this.state.mask.polygon(this.region(stroke.places), stroke.erase);
    this.done();
  }

  /** Give up the stroke: a second finger has come, which zooms. */
  abandon() {
    if (this.stroke) this.state.mask.giveUp();
    this.stroke = null;
    this.view.refresh();
  }

  /** Move the cursor by arrow keys, and paint with Space; Shift with an arrow paints on the way. */
  press(event) {
    const { state, view } = this;
    if (event.ctrlKey || event.metaKey || event.altKey || (event.key !== " " && !ARROWS[event.key])) return;
    event.preventDefault();
    const from = (this.cursor ??= { x: state.mask.width / 2, y: state.mask.height / 2 });
    const [right, down] = ARROWS[event.key] ?? [0, 0];
    const step = Math.max(1, state.size * KEY_STEP);
    const clip = (value, most) => Math.min(most, Math.max(0, value));
    this.cursor = { x: clip(from.x + right * step, state.mask.width), y: clip(from.y + down * step, state.mask.height) };
    if (event.key === " " || event.shiftKey) {
      if (!event.repeat) state.mask.remember();
      state.mask.line(from, this.cursor, state.size, state.tool === "eraser");
      this.done();
    }
    view.refresh();
  }

  hideCursor() {
    if (!this.stroke) this.cursor = null;
    this.view.refresh();
  }

  isRegion() {
    return this.state.tool === "rectangle" || this.state.tool === "lasso";
  }

  /** Return the polygon of a region: the lasso's way, or the rectangle between its ends. */
  region(places) {
    if (this.state.tool === "lasso") return places;
    return corners(places[0], places.at(-1));
  }

  width({ pointerType, pressure }) {
    return this.state.size * (pointerType === "pen" ? LIGHT + (1 - LIGHT) * pressure : 1);
  }

  /** Draw the region that is being drawn, or the brush. */
  draw() {
    const { stroke, cursor, state, view } = this;
    if (stroke && this.isRegion()) {
      view.outline((context) => {
        for (const { x, y } of this.region(stroke.places)) context.lineTo(x, y);
        context.closePath();
      });
    } else if (cursor && (state.tool === "brush" || state.tool === "eraser")) {
      view.outline((context) => context.arc(cursor.x, cursor.y, state.size / 2, 0, 2 * Math.PI));
    }
  }
}

/** Return the corners of the rectangle between two places. */
export function corners(a, b) {
  return [a, { x: b.x, y: a.y }, b, { x: a.x, y: b.y }];
}
