// The form: what can be chosen with which model, what is asked for, and how to get back to what was asked for.

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
const FREE = ["sampler", "schedule"]; // named or not are two things: a sampler that is named has a schedule of its own
const NUMBERS = ["steps", "guidance_scale", "seed", "n"];
const SEEDS = 2 ** 31; // enough to choose from, and short enough to type

let offered = []; // the models
let following = false; // whether the picture may be as large as the one that it begins with

const form = document.querySelector("#form");
const field = (name) => form.elements[name] ?? form.querySelector(`#${name}`);

/** Offer the models, and what the first one has as defaults. */
export function offer(models) {
  const chosen = field("model").value;
  offered = models;
  field("model").replaceChildren(...models.map(({ id }) => new Option(id, id)));
  if (models.some(({ id }) => id === chosen)) field("model").value = chosen;
  limit();
}

/** Offer, and choose, the size of the picture to begin with; or no more. */
export function follow(there) {
  following = there;
  limit();
  if (there) field("size").value = "";
  showSides();
}

/** Show the chosen model's limits, and its defaults where nothing is chosen. */
function limit() {
  const model = offered.find(({ id }) => id === field("model").value);
  const { width, height, steps, cfg } = model?.parameters ?? {};
  bound("steps", steps);
  bound("guidance_scale", cfg);
  for (const name of CHOICES) choose(name, FREE.includes(name) ? open(model?.parameters?.[name]) : model?.parameters?.[name]);
  const own = width && height ? [[`${width.default}x${height.default}`, "this model's own"]] : [];
  const others = SIZES.filter(([size]) => size !== own[0]?.[0]);
  const chosen = field("size").value;
  const options = [...own, ...others].map(([size, word]) => new Option(`${size.replace("x", " × ")} – ${word}`, size));
  const same = following ? [new Option("As the picture", "")] : [];
  field("size").replaceChildren(...same, ...options, new Option("Other …", OTHER));
  if ([...field("size").options].some(({ value }) => value === chosen)) field("size").value = chosen;
  showSides();
}

function bound(name, limits) {
  Object.assign(field(name), { min: limits?.min ?? 0, max: limits?.max ?? "", placeholder: limits?.default ?? "" });
}

/** Offer the names that the model has; a model without any needs no field. */
function choose(name, { enum: names = [], default: usual } = {}) {
  const chosen = field(name).value;
  field(name).parentElement.hidden = !names.length;
  field(name).replaceChildren(...names.map((word) => new Option(word === usual ? "usual" : word, word === usual ? "" : word)));
  if (names.includes(chosen)) field(name).value = chosen;
}

/** Return a choice among all names, or none of them. */
function open(choice) {
  return choice && { enum: ["", ...choice.enum], default: "" };
}

function showSides() {
  for (const side of form.querySelectorAll("[data-size]")) side.hidden = field("size").value !== OTHER;
}

/** Return the request that the form asks for, with a seed in any case: so each picture can be made again. */
export function read() {
  const wanted = { prompt: field("prompt").value.trim() };
  for (const name of ["negative_prompt", "model", ...CHOICES]) if (field(name).value) wanted[name] = field(name).value;
  const size = field("size").value;
  if (size) wanted.size = size === OTHER ? `${field("width").value}x${field("height").value}` : size;
  for (const name of NUMBERS) if (field(name).value !== "") wanted[name] = field(name).valueAsNumber;
  wanted.seed ??= Math.floor(Math.random() * SEEDS);
  return wanted;
}

/** Fill the form with a request. */
export function write(wanted) {
  field("prompt").value = wanted.prompt;
  for (const name of ["negative_prompt", ...NUMBERS]) field(name).value = wanted[name] ?? "";
  field("n").value ||= 1;
  if (wanted.model) field("model").value = wanted.model;
  limit();
  for (const name of CHOICES) field(name).value = wanted[name] ?? "";
  const [width, height] = (wanted.size ?? "").split("x");
  const listed = [...field("size").options].some(({ value }) => value === wanted.size);
  if (wanted.size) field("size").value = listed ? wanted.size : OTHER;
  if (!listed && width) {
    field("width").value = width;
    field("height").value = height;
  }
  showSides();
}

field("model").addEventListener("change", limit);
field("size").addEventListener("change", showSides);
