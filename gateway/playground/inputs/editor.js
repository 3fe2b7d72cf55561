// The dialog in which a mask is painted on an image.

import { Mask } from "./mask.js";
import { Painter, corners } from "./painting.js";
import { View } from "./view.js";

const $ = (id) => document.getElementById(id);
const TOOL_KEYS = { b: "brush", e: "eraser", r: "rectangle", l: "lasso", h: "hand" };
const SIZE_STEP = 1.15; // factor of the brush's size for the keys [ and ]
const ZOOM = 1.25;
const SIDES = ["x", "y", "width", "height"];

const state = { mask: null, tool: "brush", size: 48, image: null };
let view = null;
let painter = null;
let softened = { mask: null, version: 0, softness: 0, canvas: null }; // the mask with its soft edge, as last computed
let resolve = () => {};
let warned = false; // whether Escape would give up what is painted, and the dialog says so

/** Connect the dialog. */
export function open() {
  view = new View($("mask-view"), paint);
  painter = new Painter(view, state, changed);
  for (const [id, act] of Object.entries(BUTTONS)) $(id).addEventListener("click", act);
  $("mask-tools").addEventListener("change", ({ target }) => selectTool(target.value));
  $("mask-size").addEventListener("input", () => setSize($("mask-size").valueAsNumber));
  $("mask-soft").addEventListener("input", () => setSoftness($("mask-soft").valueAsNumber));
  $("mask-file").addEventListener("change", takeFile);
  $("mask-dialog").addEventListener("keydown", press);
  $("mask-dialog").addEventListener("cancel", askFirst);
  $("mask-dialog").addEventListener("close", close);
}

/** Let a mask be painted on an image, {blob}, beginning with `file`, {blob}, if any. Return its PNG file and share, or null. */
export async function edit(image, file, softness = 0) {
  state.image = await createImageBitmap(image.blob);
  state.mask = new Mask(state.image.width, state.image.height);
  if (file) state.mask.take(await createImageBitmap(file.blob));
  state.mask.softness = file ? 0 : softness;
  const { width, height } = state.mask;
  $("mask-size").max = $("mask-soft").max = Math.round(Math.max(width, height) / 2);
  setSize(Math.max(4, Math.round(Math.max(width, height) / 10)));
  setSoftness(state.mask.softness);
  for (const [name, value, max] of [["x", 0, width], ["y", 0, height], ["width", width, width], ["height", height, height]]) {
    Object.assign($(`mask-${name}`), { value, max });
  }
  selectTool("brush");
  say("");
  $("mask-dialog").showModal();
  $("mask-view").focus();
  view.show(state.mask);
  changed();
  return new Promise((settle) => (resolve = settle));
}

const BUTTONS = {
  "mask-undo": () => change(() => state.mask.undo()),
  "mask-redo": () => change(() => state.mask.redo()),
  "mask-fill": () => change(() => state.mask.fill(true), true),
  "mask-clear": () => change(() => state.mask.fill(false), true),
  "mask-invert": () => change(() => state.mask.invert(), true),
  "mask-zoom-in": () => view.zoom(ZOOM),
  "mask-zoom-out": () => view.zoom(1 / ZOOM),
  "mask-fit": () => view.fit(),
  "mask-add": () => change(() => rectangle(false), true),
  "mask-subtract": () => change(() => rectangle(true), true),
  "mask-cancel": () => $("mask-dialog").close(),
  "mask-use": use,
};

async function use() {
  if (state.mask.share() === 0) return say("Nothing is masked yet: paint the part of the image to change.");
  const result = { blob: await state.mask.toFile(), share: state.mask.share() };
  resolve(result);
  $("mask-dialog").close();
  return undefined;
}

/** Keep the dialog at the first Escape if something was painted. */
function askFirst(event) {
  if (warned || !state.mask.past.length) return;
  event.preventDefault();
  warned = true;
  say("Press Escape again to give up what you painted.");
}

function close() {
  resolve(null); // without effect after `use`
  state.image?.close();
  state.image = state.mask = softened.mask = softened.canvas = null;
}

/** Add the rectangle of the number fields to the mask, or remove it. */
function rectangle(erase) {
  const [x, y, width, height] = SIDES.map((name) => $(`mask-${name}`).valueAsNumber || 0);
  state.mask.polygon(corners({ x, y }, { x: x + width, y: y + height }), erase);
}

async function takeFile() {
  const [file] = $("mask-file").files;
  if (!file) return;
  try {
    const bitmap = await createImageBitmap(file);
    change(() => state.mask.take(bitmap), true);
  } catch (error) {
    say(error instanceof DOMException ? "The mask must be a PNG, JPEG or WebP file." : error.message);
  }
  $("mask-file").value = "";
}

function change(act, remembered = false) {
  say("");
  if (remembered) state.mask.remember();
  act();
  changed();
}

/** Show the mask after a change, and what can be undone. */
function changed() {
  const { mask } = state;
  warned = false;
  $("mask-undo").disabled = !mask.past.length;
  $("mask-redo").disabled = !mask.future.length;
  const share = mask.share();
  $("mask-share").textContent = share ? `${formatShare(share)} of the image will be repainted.` : "Paint the part of the image to change.";
  view.refresh();
}

/** Return a share as a percentage. */
export function formatShare(share) {
  return share > 0 && share < 0.01 ? "Less than 1 %" : `${Math.round(100 * share)} %`;
}

function selectTool(tool) {
  state.tool = tool;
  $("mask-tools").querySelector(`[value="${tool}"]`).checked = true;
  $("mask-view").dataset.tool = tool;
  view.refresh();
}

function setSize(size) {
  state.size = Math.min(Number($("mask-size").max), Math.max(1, Math.round(size)));
  $("mask-size").value = $("mask-size-value").value = state.size;
  view.refresh();
}

function setSoftness(softness) {
  state.mask.softness = softness;
  $("mask-soft").value = $("mask-soft-value").value = softness;
  view.refresh();
}

function press(event) {
  if (event.target.matches("input[type=number]")) return;
  const control = event.ctrlKey || event.metaKey;
  const key = event.key.toLowerCase();
  const act = control ? controlKeys(event)[key] : !event.altKey && plainKeys()[key];
  if (!act) return;
  event.preventDefault();
  act();
}

function controlKeys({ shiftKey }) {
  return { z: BUTTONS[shiftKey ? "mask-redo" : "mask-undo"], y: BUTTONS["mask-redo"], enter: use };
}

function plainKeys() {
  const tools = Object.entries(TOOL_KEYS).map(([key, tool]) => [key, () => selectTool(tool)]);
  return {
    ...Object.fromEntries(tools),
    "[": () => setSize(Math.min(state.size - 1, state.size / SIZE_STEP)),
    "]": () => setSize(Math.max(state.size + 1, state.size * SIZE_STEP)),
    i: BUTTONS["mask-invert"],
    "+": BUTTONS["mask-zoom-in"],
    "-": BUTTONS["mask-zoom-out"],
    "0": BUTTONS["mask-fit"],
  };
}

function paint(context) {
  if (!state.mask) return;
  const { mask, image } = state;
  context.drawImage(image, 0, 0);
  view.overlay(painter.stroke ? mask.canvas : withSoftEdge(mask), mask.width, mask.height);
  painter.draw();
}

/** Return the mask with its soft edge, which is computed only after changes. */
function withSoftEdge(mask) {
  const { version, softness } = mask;
  if (softened.mask !== mask || softened.version !== version || softened.softness !== softness) {
    softened = { mask, version, softness, canvas: mask.softened() };
  }
  return softened.canvas;
}

function say(text) {
  $("mask-error").textContent = text;
}
