// The form: the choices of each model, the request that the form describes, and filling the form from a request.

import { afterRun, readSeed, takeSeeds, writeSeed } from "./seed.js";
import { hasWeights } from "./prompt_editing.js";
import { offerOwnSize, readSize, setModel, writeSize } from "./size.js";

export { afterRun, offerOwnSize };

const STYLES = ["quality", "style"];
const SAMPLING = ["sampler", "schedule"]; // empty differs from the default's name: a named sampler has its own schedule
const NUMBERS = ["steps", "guidance_scale", "n", "clip_skip"];
const STATES = {
  unloaded: "Not in memory: the first image waits until it is loaded.",
  loading: "It is being loaded.",
};

const WITHOUT_NEGATIVE = {
  none: "This model takes no guidance: a negative prompt has no effect.",
  embedded: "This model takes guidance without a negative prompt.",
};

let available = []; // the models
let loaded = false; // whether the models are known
let missing = ""; // the name of a model that was wanted, but is not served
let onModel = () => {}; // is called with the capabilities of the selected model

const form = document.querySelector("#form");
const $ = (id) => document.getElementById(id);
const field = (name) => form.elements[name] ?? $(name);

/** Show the models, and the defaults of the selected one. */
export function setModels(models) {
  const chosen = field("model").value;
  available = models;
  loaded = true;
  field("model").replaceChildren(...models.map(({ id }) => new Option(id, id)));
  if (models.some(({ id }) => id === chosen)) field("model").value = chosen;
  selectModel();
}

/** Return the models. */
export function models() {
  return available;
}

/** Return the selected model; undefined before the models are known. */
export function model() {
  return available.find(({ id }) => id === field("model").value);
}

/** Return the usual name of a sampler or schedule. */
export function labelOf(name, value) {
  const labels = available.map(({ parameters }) => parameters?.[name]?.labels?.[value]);
  return labels.find(Boolean) ?? value;
}

/** Call `listener` with the capabilities of the selected model, and the model, now and whenever another is selected. */
export function watchModel(listener) {
  onModel = listener;
  onModel(model()?.capabilities, model());
}

function selectModel() {
  showModelSettings();
  onModel(model()?.capabilities, model());
}

/** Show the limits and defaults of the selected model. */
function showModelSettings() {
  const { parameters = {}, capabilities = {} } = model() ?? {};
  setBounds("steps", parameters.steps);
  setBounds("guidance_scale", parameters.cfg);
  for (const name of STYLES) setPresets(name, parameters[name]);
  setNames("sampler", parameters.sampler);
  showSchedules();
  field("clip_skip").closest(".field").hidden = capabilities.clip_layer === 0;
  setModel(parameters);
  showModelNote();
  showGuidance();
}

function setBounds(name, limits) {
  Object.assign(field(name), { min: limits?.min ?? 0, max: limits?.max ?? "", placeholder: limits?.default ?? "" });
}

/** Show the presets that the model has as options; hide the field if it has none. */
function setPresets(name, { enum: names = [], default: initial } = {}) {
  setOptions(name, names.map((word) => new Option(word === initial ? "default" : word, word === initial ? "" : word)));
}

/** Show the model's samplers or schedules under their usual names, with an empty first one: what applies without. */
function setNames(name, { enum: names = [], labels = {}, default: initial } = {}, unset) {
  const labelOf = (word) => labels[word] ?? word;
  const first = new Option(unset ?? (initial ? `${labelOf(initial)} (model's default)` : "Model's default"), "");
  setOptions(name, names.length ? [first, ...names.map((word) => new Option(labelOf(word), word))] : []);
}

/** Offer the schedules that the sampler takes, and choose `wanted` if it is one of them; otherwise say so. */
function showSchedules(wanted = field("schedule").value) {
  const { sampler, schedule } = model()?.parameters ?? {};
  const chosen = field("sampler").value;
  const name = chosen || sampler?.default;
  const taken = sampler?.schedules?.[name]; // undefined: all
  const refuses = (value) => Boolean(value && taken && !taken.includes(value));
  setNames("schedule", schedule, chosen ? "The sampler's own" : undefined);
  for (const option of field("schedule").options) {
    if (refuses(option.value)) Object.assign(option, { disabled: true, text: `${option.text} (not with ${labelOf("sampler", name)})` });
  }
  choose("schedule", wanted);
  $("schedule-note").textContent = refuses(wanted) ? `${labelOf("sampler", name)} does not take the schedule ${labelOf("schedule", wanted)}: its own is used.` : "";
  if (refuses(wanted)) $("sampling-group").open = true;
}

function setOptions(name, options) {
  const chosen = field(name).value;
  field(name).closest(".field").hidden = !options.length;
  field(name).replaceChildren(...options);
  if (options.some(({ value }) => value === chosen)) field(name).value = chosen;
}

/** Say what the user must know about the selected model. */
function showModelNote() {
  const { state, error } = model() ?? {};
  const none = loaded && !available.length ? "This server has no models." : "";
  const lost = missing ? `This server has no model “${missing}”. ` : "";
  const failed = state === "failed" ? `It could not be loaded: ${error || "the server's log has the reason"}` : "";
  $("model-note").textContent = lost + none + (failed || (STATES[state] ?? ""));
  $("model-note").classList.toggle("problem", Boolean(lost || failed || none));
}

/** Say where guidance or the negative prompt have no effect, and disable what the model does not take. */
function showGuidance() {
  const { guidance } = model()?.capabilities ?? {};
  const reason = WITHOUT_NEGATIVE[guidance] ?? "";
  const weak = (field("guidance_scale").value || model()?.parameters?.cfg?.default) <= 1;
  field("guidance_scale").disabled = guidance === "none";
  field("negative_prompt").disabled = Boolean(reason);
  $("guidance-note").hidden = guidance !== "none";
  $("negative-note").hidden = !reason && !weak;
  $("negative-note").textContent = reason || "No effect while guidance is 1 or less, as usual for models of few steps.";
}

/** Return the request of the form. It always has a seed, so that each image can be made again. */
export function read() {
  const request = describe();
  [request.seed] = takeSeeds(1, request.n);
  return request;
}

/** Return the settings of the form: a request without a seed if that is random. */
export function describe() {
  const request = { prompt: field("prompt").value.trim() };
  for (const name of ["negative_prompt", "model", ...STYLES, ...SAMPLING]) if (field(name).value && !field(name).disabled) request[name] = field(name).value;
  const size = readSize();
  if (size) request.size = size;
  for (const name of NUMBERS) if (field(name).value !== "" && !field(name).disabled) request[name] = field(name).valueAsNumber;
  if (readSeed() !== undefined) request.seed = readSeed();
  if (isWeighted(request)) request.prompt_weighting = field("prompt_weighting").checked;
  return request;
}

/** Fill the form with a request. A model that is not served is named below the field, and the selected one is kept. */
export function write(request) {
  for (const name of ["prompt", "negative_prompt", ...NUMBERS]) field(name).value = request[name] ?? "";
  field("n").value ||= 1;
  if ("seed" in request) writeSeed(request.seed);
  missing = available.length && request.model && !available.some(({ id }) => id === request.model) ? request.model : "";
  if (request.model && !missing) field("model").value = request.model;
  selectModel();
  for (const name of [...STYLES, "sampler"]) choose(name, request[name]);
  showSchedules(request.schedule ?? "");
  if (request.size) writeSize(request.size);
  if (isWeighted(request)) field("prompt_weighting").checked = Boolean(request.prompt_weighting);
  showGuidance();
  if (request.negative_prompt) $("negative-group").open = true;
  for (const name of ["prompt", "negative_prompt"]) field(name).dispatchEvent(new Event("input", { bubbles: true }));
}

/** Show what differs from the model's defaults in the heading of the group, which may be closed. */
function showSampling() {
  const names = [...SAMPLING, ...STYLES].map(field).filter(({ value }) => value).map(({ selectedOptions: [{ text }] }) => text);
  const [steps, guidance, skip] = ["steps", "guidance_scale", "clip_skip"].map((name) => field(name).value);
  const numbers = [steps && `${steps} steps`, guidance && `guidance ${guidance}`, skip && `clip skip ${skip}`];
  $("sampling-summary").textContent = [...names, ...numbers].filter(Boolean).join(", ");
  $("negative-summary").textContent = $("negative-group").open ? "" : field("negative_prompt").value.slice(0, 80);
}

function isWeighted({ prompt, negative_prompt = "" }) {
  return hasWeights(prompt) || hasWeights(negative_prompt);
}

function choose(name, value) {
  const known = [...field(name).options].some((option) => option.value === value && !option.disabled);
  field(name).value = known ? value : "";
}

field("model").addEventListener("change", () => {
  missing = "";
  selectModel();
});
for (const name of SAMPLING) field(name).addEventListener("change", () => showSchedules());
field("guidance_scale").addEventListener("input", showGuidance);
for (const event of ["input", "change"]) form.addEventListener(event, showSampling);
$("negative-group").addEventListener("toggle", showSampling);
