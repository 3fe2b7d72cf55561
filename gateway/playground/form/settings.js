// The form: the choices of each model, the request that the form describes, and filling the form from a request.

const SIZES = [
  ["256x256", "square"],
  ["512x512", "square"],
  ["768x768", "square"],
  ["1024x1024", "square"],
  ["1024x1536", "portrait"],
  ["1536x1024", "landscape"],
  ["1024x1792", "tall"],
  ["1792x1024", "wide"],
];
const OTHER = "other";
const CHOICES = ["quality", "style", "sampler", "schedule"];
const OPTIONAL = ["sampler", "schedule"]; // empty differs from the default's name: a named sampler has its own schedule
const NUMBERS = ["steps", "guidance_scale", "seed", "n", "clip_skip"];
const SEEDS = 2 ** 31; // random seeds are below it: short enough to type

let available = []; // the models
const ownSizes = new Set(); // the images whose size the result may have
let onModel = () => {}; // is called with the capabilities of the selected model

const form = document.querySelector("#form");
const field = (name) => form.elements[name] ?? form.querySelector(`#${name}`);

/** Show the models, and the defaults of the selected one. */
export function setModels(models) {
  const chosen = field("model").value;
  available = models;
  field("model").replaceChildren(...models.map(({ id }) => new Option(id, id)));
  if (models.some(({ id }) => id === chosen)) field("model").value = chosen;
  selectModel();
}

function selectModel() {
  showModelSettings();
  onModel(capabilities());
}

/** Call `listener` with the capabilities of the selected model, now and whenever another one is selected. */
export function watchModel(listener) {
  onModel = listener;
  onModel(capabilities());
}

function capabilities() {
  return available.find(({ id }) => id === field("model").value)?.capabilities;
}

/** Offer and select the size of an image, named for the option, or stop offering it. */
export function offerOwnSize(name, present) {
  if (present === ownSizes.has(name)) return;
  if (present) ownSizes.add(name);
  else ownSizes.delete(name);
  showModelSettings();
  if (present) field("size").value = "";
  showSides();
}

/** Show the limits and defaults of the selected model. */
function showModelSettings() {
  const model = available.find(({ id }) => id === field("model").value);
  const { width, height, steps, cfg } = model?.parameters ?? {};
  setBounds("steps", steps);
  setBounds("guidance_scale", cfg);
  for (const name of CHOICES) setChoices(name, OPTIONAL.includes(name) ? withUnset(model?.parameters?.[name]) : model?.parameters?.[name]);
  setSizes(width, height);
}

/** Show the sizes to choose from, the model's own first. */
function setSizes(width, height) {
  const own = width && height ? [[`${width.default}x${height.default}`, "this model's own"]] : [];
  const others = SIZES.filter(([size]) => size !== own[0]?.[0]);
  const chosen = field("size").value;
  const options = [...own, ...others].map(([size, label]) => new Option(`${size.replace("x", " × ")} – ${label}`, size));
  const [first] = ownSizes;
  const same = first ? [new Option(`Same as the ${first}`, "")] : [];
  field("size").replaceChildren(...same, ...options, new Option("Other …", OTHER));
  if ([...field("size").options].some(({ value }) => value === chosen)) field("size").value = chosen;
  showSides();
}

function setBounds(name, limits) {
  Object.assign(field(name), { min: limits?.min ?? 0, max: limits?.max ?? "", placeholder: limits?.default ?? "" });
}

/** Show the names that the model has as options; hide the field if it has none. */
function setChoices(name, { enum: names = [], default: initial } = {}) {
  const chosen = field(name).value;
  field(name).parentElement.hidden = !names.length;
  field(name).replaceChildren(...names.map((word) => new Option(word === initial ? "default" : word, word === initial ? "" : word)));
  if (names.includes(chosen)) field(name).value = chosen;
}

/** Return a choice with an empty name in addition, which is its default. */
function withUnset(choice) {
  return choice && { enum: ["", ...choice.enum], default: "" };
}

function showSides() {
  for (const side of form.querySelectorAll("[data-size]")) side.hidden = field("size").value !== OTHER;
}

/** Return the request of the form. It always has a seed, so that each image can be made again. */
export function read() {
  const request = { prompt: field("prompt").value.trim() };
  for (const name of ["negative_prompt", "model", ...CHOICES]) if (field(name).value) request[name] = field(name).value;
  const size = field("size").value;
  if (size) request.size = size === OTHER ? `${field("width").value}x${field("height").value}` : size;
  for (const name of NUMBERS) if (field(name).value !== "") request[name] = field(name).valueAsNumber;
  request.seed ??= Math.floor(Math.random() * SEEDS);
  return request;
}

/** Fill the form with a request. */
export function write(request) {
  field("prompt").value = request.prompt;
  for (const name of ["negative_prompt", ...NUMBERS]) field(name).value = request[name] ?? "";
  field("n").value ||= 1;
  if (request.model) field("model").value = request.model;
  selectModel();
  for (const name of CHOICES) field(name).value = request[name] ?? "";
  const [width, height] = (request.size ?? "").split("x");
  const listed = [...field("size").options].some(({ value }) => value === request.size);
  if (request.size) field("size").value = listed ? request.size : OTHER;
  if (!listed && width) {
    field("width").value = width;
    field("height").value = height;
  }
  showSides();
}

field("model").addEventListener("change", selectModel);
field("size").addEventListener("change", showSides);
