// The dialog in which an image is extended: how much is added at each side, and how it is filled before it is painted.

import { extend, extendedSize, snap, surroundingsMask } from "./filling.js";
import { formatShare } from "./editor.js";
import { toPng } from "./mask.js";
import { View } from "./view.js";

const $ = (id) => document.getElementById(id);
const SIDES = ["left", "top", "right", "bottom"];
const REACH = 14; // pixels of the window around an edge in which it can be grabbed
const OVERLAP = 1 / 12; // share of the shorter side that is painted again
const ADDED = 0.25; // share that the button for every side adds
const RANGE = 2; // most that is added at a side, as a share of the image

const state = { image: null, sides: null, limits: null };
let view = null;
let held = null; // the side that is dragged
let filled = { key: "", canvas: null }; // the extended image as last filled
let resolve = () => {};

/** Connect the dialog. */
export function open() {
  view = new View($("extend-view"), paint);
  view.element.addEventListener("pointerdown", grab);
  view.element.addEventListener("pointermove", drag);
  for (const name of ["pointerup", "pointercancel"]) view.element.addEventListener(name, drop);
  for (const side of SIDES) $(`extend-${side}`).addEventListener("change", takeFields);
  $("extend-unit").addEventListener("change", showFields);
  $("extend-fill").addEventListener("change", () => view.refresh());
  $("extend-overlap").addEventListener("input", showFields);
  $("extend-all").addEventListener("click", () => set(inParts(ADDED, ADDED)));
  $("extend-square").addEventListener("click", () => set(toSquare()));
  $("extend-none").addEventListener("click", () => set(inParts(0, 0)));
  $("extend-cancel").addEventListener("click", () => $("extend-dialog").close());
  $("extend-use").addEventListener("click", use);
  $("extend-dialog").addEventListener("close", close);
}

/** Let an image, {blob}, be extended. Return the files {image, mask} and the masked share, or null.
 *
 * `limits` are those of the model: sides are multiples of `step` pixels, and at most `max`.
 */
export async function extendImage({ blob }, { step = 8, max = 4096 } = {}) {
  state.image = await createImageBitmap(blob);
  state.limits = { step, max };
  const shorter = Math.min(state.image.width, state.image.height);
  Object.assign($("extend-overlap"), { max: Math.round(shorter / 3), value: Math.round(shorter * OVERLAP) });
  $("extend-dialog").showModal();
  set(inParts(ADDED, 0));
  view.element.focus();
  return new Promise((settle) => (resolve = settle));
}

async function use() {
  const problem = findProblem();
  if (problem) return say(problem);
  const { image, sides } = state;
  const mask = surroundingsMask(image, sides, overlap());
  const files = { image: await toPng(extend(image, sides, $("extend-fill").value)), mask: await toPng(mask) };
  const { width, height } = extendedSize(sides, image);
  resolve({ ...files, share: 1 - (image.width * image.height) / (width * height) });
  $("extend-dialog").close();
  return undefined;
}

function findProblem() {
  const { width, height } = extendedSize(state.sides, state.image);
  const { max } = state.limits;
  if (width === state.image.width && height === state.image.height) return "Nothing is added yet: drag an edge, or type a number.";
  if (Math.max(width, height) > max) return `The result would have ${width} × ${height} pixels; this model makes at most ${max} a side.`;
  return "";
}

function close() {
  resolve(null); // without effect after `use`
  state.image?.close();
  state.image = filled.canvas = null;
  filled.key = "";
}

/** Return sides that add shares of the image: left and right, top and bottom. */
function inParts(across, down) {
  const { width, height } = state.image;
  const [sideways, upright] = [Math.round(width * across), Math.round(height * down)];
  return { left: sideways, top: upright, right: sideways, bottom: upright };
}

function toSquare() {
  const { width, height } = state.image;
  const missing = Math.abs(width - height);
  const [first, second] = [Math.floor(missing / 2), Math.ceil(missing / 2)];
  return width < height ? { left: first, top: 0, right: second, bottom: 0 } : { left: 0, top: first, right: 0, bottom: second };
}

/** Take other sides, show all of the result, and what it will be. */
function set(sides, { fit = true } = {}) {
  state.sides = snap(sides, state.image, state.limits.step);
  showFields();
  if (fit) view.show({ ...extendedSize(state.sides, state.image), left: -state.sides.left, top: -state.sides.top });
}

function showFields() {
  const { image, sides } = state;
  for (const side of SIDES) {
    const value = inPercent() ? (100 * sides[side]) / lengthOf(side) : sides[side];
    Object.assign($(`extend-${side}`), { value: Math.round(10 * value) / 10, max: inPercent() ? 100 * RANGE : lengthOf(side) * RANGE });
  }
  $("extend-overlap-value").value = overlap();
  const { width, height } = extendedSize(sides, image);
  const share = 1 - (image.width * image.height) / (width * height);
  $("extend-size").textContent = `${width} × ${height} pixels, of which ${formatShare(share).toLowerCase()} are new.`;
  say("");
  view.refresh();
}

function takeFields() {
  const read = (side) => {
    const value = Math.max(0, $(`extend-${side}`).valueAsNumber || 0);
    return bound(inPercent() ? (value * lengthOf(side)) / 100 : value, side);
  };
  set(Object.fromEntries(SIDES.map((side) => [side, read(side)])));
}

function bound(pixels, side) {
  return Math.round(Math.min(lengthOf(side) * RANGE, Math.max(0, pixels)));
}

function lengthOf(side) {
  return side === "left" || side === "right" ? state.image.width : state.image.height;
}

function inPercent() {
  return $("extend-unit").value === "%";
}

function overlap() {
  return $("extend-overlap").valueAsNumber;
}

function grab(event) {
  held = sideAt(event);
  if (held) view.element.setPointerCapture(event.pointerId);
}

function drag(event) {
  view.element.dataset.side = held ?? sideAt(event) ?? "";
  if (!held) return;
  const { x, y } = view.toContent(event);
  const pixels = { left: -x, top: -y, right: x - state.image.width, bottom: y - state.image.height }[held];
  set({ ...state.sides, [held]: bound(pixels, held) }, { fit: false });
}

function drop() {
  if (held) set(state.sides);
  held = null;
}

/** Return the side whose edge is near the pointer, if any. */
function sideAt(event) {
  const { x, y } = view.toContent(event);
  const { left, top, right, bottom } = edges();
  const reach = REACH / view.scale;
  const away = { left: Math.abs(x - left), right: Math.abs(x - right), top: Math.abs(y - top), bottom: Math.abs(y - bottom) };
  const near = SIDES.filter((side) => away[side] < reach).sort((a, b) => away[a] - away[b]);
  const inside = x > left - reach && x < right + reach && y > top - reach && y < bottom + reach;
  return inside ? near[0] : undefined;
}

/** Return where the edges of the result are, in pixels of the image. */
function edges() {
  const { image, sides } = state;
  return { left: -sides.left, top: -sides.top, right: image.width + sides.right, bottom: image.height + sides.bottom };
}

function paint(context) {
  if (!state.image) return;
  const { image, sides } = state;
  const { left, top, right, bottom } = edges();
  const key = JSON.stringify([sides, $("extend-fill").value]);
  if (filled.key !== key) filled = { key, canvas: extend(image, sides, $("extend-fill").value) };
  context.drawImage(filled.canvas, left, top);
  view.outline(() => context.rect(0, 0, image.width, image.height));
  view.outline(() => context.rect(left, top, right - left, bottom - top));
  const [middle, centre] = [(left + right) / 2, (top + bottom) / 2];
  for (const [x, y] of [[left, centre], [right, centre], [middle, top], [middle, bottom]]) handle(context, x, y);
}

function handle(context, x, y) {
  const radius = 6 / view.scale;
  context.fillStyle = "#fff";
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
  view.outline(() => context.arc(x, y, radius, 0, 2 * Math.PI));
}

function say(text) {
  $("extend-error").textContent = text;
}
