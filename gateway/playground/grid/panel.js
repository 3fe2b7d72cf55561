// The dialog of a grid: two axes with their values, the number of images, and what is wrong with them.

import { MAX_CELLS, applyValue, axesOf, parseValues } from "./axes.js";

const $ = (id) => document.getElementById(id);
const SIDES = ["x", "y"];
const NONE = "";

let axes = {};
let request = {}; // that of the form when the dialog was opened
let options = { request: () => ({}), models: () => [], onStart() {} };

/** Connect the dialog. `request()` returns that of the form, `models()` the server's list, `onStart(plan)` begins. */
export function open(given) {
  options = given;
  for (const side of SIDES) {
    $(`grid-${side}`).addEventListener("change", () => {
      $(`grid-${side}-values`).value = "";
      check();
    });
    $(`grid-${side}-values`).addEventListener("input", check);
    $(`grid-${side}-all`).addEventListener("click", () => fillAll(side));
  }
  $("grid-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const plan = check();
    if (!plan) return;
    $("grid").close();
    options.onStart({ ...plan, keep: $("grid-keep").checked });
  });
  $("grid-cancel").addEventListener("click", () => $("grid").close());
}

/** Show the dialog for the request of the form. */
export function show() {
  const models = options.models();
  request = options.request();
  axes = axesOf(models.find(({ id }) => id === request.model) ?? models[0], models);
  if (!request.image) delete axes.strength;
  for (const [side, first] of [["x", "steps"], ["y", NONE]]) {
    const chosen = $(`grid-${side}`).value;
    const none = side === "y" ? [new Option("nothing: one row", NONE)] : [];
    $(`grid-${side}`).replaceChildren(...none, ...Object.entries(axes).map(([key, { label }]) => new Option(label, key)));
    $(`grid-${side}`).value = chosen in axes ? chosen : first;
  }
  $("grid-prompt").textContent = request.prompt || "Describe the image first.";
  check();
  $("grid").showModal();
}

/** Return {request, x, y}, each axis with {key, label, values, names}; null if something is wrong, which is shown. */
function check() {
  showHints();
  try {
    if (!request.prompt) throw new Error("The prompt is empty.");
    const [x, y] = SIDES.map(readAxis);
    if (x.key === y.key) throw new Error("Both axes have the same setting.");
    const count = x.values.length * y.values.length;
    if (count > MAX_CELLS) throw new Error(`${x.values.length} × ${y.values.length} = ${count} images are too many: a grid has at most ${MAX_CELLS}.`);
    showCount(`${x.values.length} × ${y.values.length} = ${count} ${count === 1 ? "image" : "images"}`);
    return { request, x, y };
  } catch (error) {
    showCount("", error.message);
    return null;
  }
}

function readAxis(side) {
  const key = $(`grid-${side}`).value;
  if (key === NONE) return { key, label: "", values: [null], names: [""] };
  const axis = axes[key];
  const values = parseValues($(`grid-${side}-values`).value, axis, request.prompt);
  const short = key === "prompt" || key === "model" ? "" : `${axis.label}: `;
  return { key, label: axis.label, values, names: values.map((value) => `${short}${axis.labels?.[value] ?? value}`) };
}

/** Return the request of one cell. */
export function cellRequest({ request: whole, x, y }, row, column) {
  const { n, ...base } = whole;
  const across = applyValue(base, x.key, x.values[column], x.values);
  return y.key === NONE ? across : applyValue(across, y.key, y.values[row], y.values);
}

function showHints() {
  for (const side of SIDES) {
    const axis = axes[$(`grid-${side}`).value];
    $(`grid-${side}-values`).disabled = !axis;
    $(`grid-${side}-values`).placeholder = axis?.hint ?? axis?.names?.slice(0, 3).join(", ") ?? "";
    $(`grid-${side}-all`).hidden = axis?.kind !== "choice";
  }
}

function showCount(text, problem = "") {
  $("grid-count").textContent = text;
  $("grid-problem").textContent = problem;
  $("grid-start").disabled = Boolean(problem);
}

function fillAll(side) {
  $(`grid-${side}-values`).value = axes[$(`grid-${side}`).value].names.join(", ");
  check();
}
