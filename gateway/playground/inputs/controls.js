// ControlNets and IP-Adapters: rows of a name, an image, a weight and, for ControlNets, a range of the steps.

import { HintChoice } from "./hint_choice.js";
import { load, loadDataUrl, release } from "../shared/images.js";

const $ = (id) => document.getElementById(id);
const CONTROLS = "controls";
const PROMPTS = "image_prompts";
const GROUPS = [[CONTROLS, "ControlNets"], [PROMPTS, "IP-Adapters"]];
const NUMBERS = [["weight", "Weight", 2, 1], ["start", "From", 1, 0], ["end", "To", 1, 1]];
const MISSING = "Choose an image.";
const UNFINISHED = "The hint is being made: try again in a moment.";

let names = { [CONTROLS]: [], [PROMPTS]: [] }; // what the model has
let rows = []; // {element, image, hint: HintChoice, sent: the image of the request}
let nextId = 1;
let report = () => {}; // is called with errors

/** Return the fields of a request for the rows; none without any. */
export function fields() {
  const request = {};
  for (const row of usable()) (request[kindOf(row)] ??= []).push(value(row));
  return request;
}

/** Use a file as the image of a row, named by its `data-drop`. Throws an Error whose message is shown. */
export async function take(place, file) {
  const row = rows.find(({ element }) => element.dataset.drop === place);
  if (row) setImage(row, await load(file));
}

/** Offer the model's ControlNets and IP-Adapters. */
export function setCapabilities({ controls = [], image_adapters = [] } = {}) {
  names = { [CONTROLS]: controls, [PROMPTS]: image_adapters };
  $("controls-field").hidden = !(controls.length || image_adapters.length);
  for (const row of rows) setNames(row);
  renumber();
}

/** Connect the field; `onError` is called with errors. */
export function open(onError) {
  report = onError;
  $("controls-add").addEventListener("click", () => add().element.querySelector("select").focus());
}

/** Restore the rows of a request. */
export async function restore(request) {
  for (const row of rows) release(row.image);
  rows = [];
  $("controls").replaceChildren();
  for (const [kind] of GROUPS) {
    for (const sent of request[kind] ?? []) {
      const row = add();
      field(row, "name").value = `${kind}:${sent.name}`;
      for (const [name] of NUMBERS) field(row, name).value = sent[name] ?? "";
      await setImage(row, await loadDataUrl(sent.image), { ready: true });
    }
  }
  renumber();
}

/** Return the rows whose fields are shown. */
function usable() {
  return $("controls-field").hidden ? [] : rows;
}

function kindOf(row) {
  return field(row, "name").value.split(":", 1)[0];
}

function value(row) {
  const request = { name: nameOf(row), image: row.sent.data };
  for (const [name] of NUMBERS) {
    const input = field(row, name);
    if (input.value !== "" && !input.closest("[hidden]")) request[name] = input.valueAsNumber;
  }
  return request;
}

function field({ element }, name) {
  return element.querySelector(`[data-field="${name}"]`);
}

function add() {
  const id = `control-${nextId++}`;
  const element = document.createElement("fieldset");
  element.dataset.drop = id;
  const row = { element, image: null, sent: null };
  row.hint = new HintChoice(id, (image) => setSent(row, image));
  element.append(
    document.createElement("legend"),
    labelled(id, "name", "Name", document.createElement("select")),
    labelled(id, "image", "Image", fileInput(row)),
    Object.assign(new Image(), { hidden: true, alt: "The image to follow" }),
    row.hint.element,
    ...NUMBERS.map(([name, label, max, initial]) => labelled(id, name, label, numberInput(max, initial))),
    removeButton(row),
  );
  rows.push(row);
  $("controls").append(element);
  setNames(row);
  setImage(row, null);
  field(row, "name").addEventListener("change", () => {
    renumber();
    row.hint.suggest(nameOf(row)).catch(report);
  });
  renumber();
  return row;
}

function labelled(id, name, text, input) {
  const box = document.createElement("div");
  const label = Object.assign(document.createElement("label"), { textContent: text, htmlFor: `${id}-${name}` });
  input.id = `${id}-${name}`;
  input.dataset.field = name;
  box.append(label, input);
  return box;
}

function fileInput(row) {
  const input = Object.assign(document.createElement("input"), { type: "file", accept: "image/png,image/jpeg,image/webp" });
  input.addEventListener("change", () => {
    if (input.files[0]) load(input.files[0]).then((image) => setImage(row, image), report);
  });
  return input;
}

function numberInput(max, initial) {
  return Object.assign(document.createElement("input"), { type: "number", min: 0, max, step: "any", placeholder: initial });
}

function removeButton(row) {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Remove" });
  button.addEventListener("click", () => {
    release(row.image);
    rows = rows.filter((other) => other !== row);
    row.element.remove();
    renumber();
    $("controls-add").focus();
  });
  return button;
}

/** Use an image for a row; with `ready` it is a hint already. */
function setImage(row, image, { ready = false } = {}) {
  const first = !row.image;
  release(row.image);
  row.image = image;
  setSent(row, null);
  if (image) row.element.querySelector("img").src = image.url;
  const suggests = first && image && !ready;
  return row.hint.use(image, { ready }).then(() => suggests && row.hint.suggest(nameOf(row))).catch(report);
}

/** Send this image for a row: the chosen one, or the hint that was made of it; null while it is made. */
function setSent(row, image) {
  if (row.sent && row.sent !== row.image) release(row.sent);
  row.sent = kindOf(row) === PROMPTS ? row.image : image;
  const shown = row.element.querySelector("img");
  shown.hidden = !row.image || (row.sent !== row.image && kindOf(row) === CONTROLS);
  row.hint.element.hidden = kindOf(row) === PROMPTS || !row.image;
  field(row, "image").setCustomValidity(row.sent ? "" : (row.image ? UNFINISHED : MISSING));
}

function nameOf(row) {
  return field(row, "name").value.slice(kindOf(row).length + 1);
}

/** Show the model's names as options, and keep the chosen one if the model has it. */
function setNames(row) {
  const select = field(row, "name");
  const chosen = select.value;
  select.replaceChildren(...GROUPS.filter(([kind]) => names[kind].length).map(([kind, label]) => {
    const group = Object.assign(document.createElement("optgroup"), { label });
    group.append(...names[kind].map((name) => new Option(name, `${kind}:${name}`)));
    return group;
  }));
  if ([...select.options].some((option) => option.value === chosen)) select.value = chosen;
}

/** Number the rows; name their fields as errors of the server do, and hide the range of IP-Adapters. */
function renumber() {
  const counts = { [CONTROLS]: 0, [PROMPTS]: 0 };
  for (const [index, row] of rows.entries()) {
    const kind = kindOf(row);
    const place = `${kind}[${counts[kind]++}]`;
    row.element.querySelector("legend").textContent = `Control ${index + 1}`;
    row.element.querySelector("button").setAttribute("aria-label", `Remove control ${index + 1}`);
    for (const name of ["name", "image", "weight", "start", "end"]) field(row, name).name = `${place}.${name}`;
    for (const name of ["start", "end"]) field(row, name).parentElement.hidden = kind === PROMPTS;
    row.hint.element.hidden = kind === PROMPTS || !row.image;
  }
}
