// Filling the form with settings that come from elsewhere: a link, a saved preset, a file of this or another program.
// Names of models, samplers and schedules are those that this server has, or the usual ones; others are named.

import * as adapters from "./adapters.js";
import { extractLoras, showNotes } from "./prompts.js";
import { check, short } from "./fields.js";
import { models, write } from "./settings.js";

const $ = (id) => document.getElementById(id);
const FILE = /\.(safetensors|ckpt|pt|pth|bin|gguf|onnx|sft)$/i;
const AUTOMATIC = ["", "automatic"]; // the web UI's words for the sampler's own schedule
const SCHEDULES = { uniform: "normal", ddimuniform: "normal" };

/** Fill the form with settings as far as they are valid and this server has them. Return a sentence about each other. */
export async function adopt(settings) {
  const { request, problems } = check(settings);
  const model = nameModel(request, problems);
  nameSampling(request, model?.parameters ?? {}, problems);
  takeLoras(request, model?.capabilities?.loras ?? [], problems);
  const clipLayer = model?.capabilities?.clip_layer;
  if (request.clip_layer && clipLayer) request.clip_skip = Math.max(0, request.clip_layer - clipLayer);
  const { clip_layer, strength, ...rest } = request;
  write({ prompt_weighting: true, ...rest }); // other programs always read weights
  await adapters.restore(rest);
  if (strength) [$("strength").value, $("strength-value").value] = [strength, strength];
  if (rest.negative_prompt) $("negative-group").open = true;
  showNotes();
  return problems;
}

/** Give a request the name of a model of this server, and return that model, or the selected one. */
function nameModel(request, problems) {
  const wanted = request.model;
  const found = wanted && (models().find(({ id }) => id === wanted) ?? models().find(({ id }) => sameModel(id, wanted)));
  if (found) request.model = found.id;
  else if (wanted) {
    problems.push(`This server has no model ${short(wanted)}.`);
    delete request.model;
  }
  return found || models().find(({ id }) => id === $("model").value);
}

function sameModel(id, wanted) {
  const bare = (name) => normalize(name.split(/[\\/]/).at(-1).replace(FILE, ""));
  return bare(id) === bare(wanted) && bare(id) !== "";
}

/** Give a request the names of the model's sampler and schedule; `DPM++ 2M Karras` names both. */
function nameSampling(request, { sampler, schedule }, problems) {
  const wanted = request.sampler;
  let name = wanted && findName(wanted, sampler);
  if (wanted && !name) {
    const own = (schedule?.enum ?? []).find((one) => normalize(wanted).endsWith(normalize(one)) && findName(normalize(wanted).slice(0, -normalize(one).length), sampler));
    if (own) [name, request.schedule] = [findName(normalize(wanted).slice(0, -normalize(own).length), sampler), request.schedule || own];
  }
  setName(request, "sampler", name, problems);
  const spaced = normalize(request.schedule ?? "");
  if (AUTOMATIC.includes(spaced)) delete request.schedule;
  else setName(request, "schedule", findName(SCHEDULES[spaced] ?? request.schedule, schedule), problems);
}

function setName(request, field, name, problems) {
  if (name) request[field] = name;
  else if (request[field]) {
    problems.push(`The model has no ${field} ${short(request[field])}.`);
    delete request[field];
  }
}

/** Return the model's name of a sampler or schedule that has this name or label; undefined if there is none. */
function findName(wanted, { enum: names = [], labels = {} } = {}) {
  const words = [normalize(wanted), normalize(wanted).replace(/gpu$/, ""), normalize(wanted).replace(/^k(?=euler|heun|lms|dpm|lcm|tcd)/, "")];
  return names.find((name) => words.includes(normalize(name)) || words.includes(normalize(labels[name] ?? name)));
}

/** Return a name without case, spaces and punctuation; `DPM++` is `dpmpp`. */
function normalize(name) {
  return name.toLowerCase().replaceAll("+", "p").replace(/[^\p{L}\p{N}]+/gu, "");
}

/** Move the adapters that a prompt names as `<lora:NAME:WEIGHT>` to the others, and leave out those that the model lacks. */
function takeLoras(request, known, problems) {
  const listed = request.loras ?? [];
  const named = listed.map(({ name, weight }) => ({ name: findLora(name, known), wanted: name, weight }));
  const own = named.filter(({ name }) => name).map(({ name, weight }) => ({ name, weight }));
  const { prompt, loras, left } = extractLoras(request.prompt ?? "", known, own);
  Object.assign(request, { prompt, loras });
  const lost = [...named.filter(({ name }) => !name).map(({ wanted }) => wanted), ...left];
  if (lost.length) problems.push(`The model does not have ${lost.slice(0, 5).map(short).join(", ")}.`);
}

function findLora(wanted, known) {
  return known.find((name) => name === wanted) ?? known.find((name) => sameModel(name, wanted));
}
