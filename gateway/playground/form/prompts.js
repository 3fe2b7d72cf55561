// What a prompt means: the adapters and embeddings that it names, weights of words, and several prompts, one a line.

import { describe, model } from "./settings.js";
import { hasWeights } from "./prompt_editing.js";
import { takeSeeds } from "./seed.js";

const $ = (id) => document.getElementById(id);
const LORAS = 8; // of one request
const EMBEDDINGS = 8; // of one request
const WORD = /[\p{L}\p{N}_]/u;
// No part extends beyond the next `<`, so that each character is read a bounded number of times.
const NETWORK = /<(\w+):([^<:>]+)(?::([^<>]*))?>/g;
const LINES = 100; // requests of one click
const PAUSE = 300; // milliseconds without a key before the prompt is read

let timer = 0;

/** Return the requests to queue: one, or one for each line of the prompt. `shared` has the fields of all of them. */
export function requests(shared = {}) {
  const base = Object.assign(describe(), shared);
  const prompts = several() ? linesOf(base.prompt).slice(0, LINES) : [base.prompt];
  const seeds = takeSeeds(prompts.length, base.n);
  return prompts.map((prompt, index) => resolve({ ...base, prompt, seed: seeds[index] }));
}

/** Return a request with the adapters, the embeddings and the syntax that its prompts need. */
export function resolve(request) {
  const { loras: known = [], embeddings: names = [] } = model()?.capabilities ?? {};
  const { prompt, loras } = extractLoras(request.prompt, known, request.loras);
  const found = findEmbeddings([prompt, request.negative_prompt ?? ""], names);
  const { prompt_weighting, ...resolved } = { ...request, prompt: found.texts[0] };
  if (found.texts[1]) resolved.negative_prompt = found.texts[1];
  if (loras.length) resolved.loras = loras;
  if (found.names.length) resolved.embeddings = found.names;
  if (prompt_weighting && found.texts.some(hasWeights)) resolved.prompt_weighting = true;
  return resolved;
}

/**
 * Return a prompt without `<lora:NAME:WEIGHT>`, the adapters that it names or that were chosen, and the parts that are
 * left out: other names than `known`, and those beyond the limit. A weight in the prompt precedes the chosen one.
 */
export function extractLoras(prompt, known, chosen = []) {
  const byName = new Map(known.map((name) => [name.toLowerCase(), name]));
  const weights = new Map(chosen.map(({ name, weight }) => [name, weight]));
  const left = [];
  for (const [whole, kind, name, weight = ""] of prompt.matchAll(NETWORK)) {
    const found = kind.toLowerCase() === "lora" ? byName.get(name.trim().toLowerCase()) : undefined;
    if (!found || (weights.size === LORAS && !weights.has(found))) left.push(whole);
    else weights.set(found, weightOf(weight));
  }
  const loras = [...weights].map(([name, weight]) => ({ name, weight }));
  return { prompt: withoutNetworks(prompt), loras, left };
}

/** Return a prompt without `<lora:…>`, and without spaces that they leave before commas. */
function withoutNetworks(prompt) {
  const bare = prompt.replace(NETWORK, "");
  if (bare === prompt) return prompt.trim();
  return bare.split(",").map((part) => part.trimEnd()).join(",").trim();
}

function weightOf(text) {
  const weight = Number(text.split(":")[0] || 1);
  return Number.isFinite(weight) ? Math.min(4, Math.max(-4, weight)) : 1;
}

/**
 * Return the embeddings whose names are words of the texts, in upper or lower case, the longest first, at most as many
 * as a request may have; those beyond are `left`. The texts have the names as the model spells them.
 */
export function findEmbeddings(texts, known) {
  const names = [];
  const left = [];
  let spelled = texts;
  for (const name of [...known].sort((one, other) => other.length - one.length)) {
    const places = spelled.map((text) => findWord(text, name));
    if (places.every((found) => !found.length)) continue;
    if (names.length === EMBEDDINGS) {
      left.push(name);
      continue;
    }
    names.push(name);
    spelled = spelled.map((text, index) => respell(text, name, places[index]));
  }
  return { texts: spelled, names, left };
}

function findWord(text, name) {
  const [folded, wanted] = [fold(text), fold(name)];
  const places = [];
  for (let at = folded.indexOf(wanted); at >= 0; at = folded.indexOf(wanted, at + wanted.length)) {
    const end = at + wanted.length;
    if (!inOneWord(text[at - 1], name[0]) && !inOneWord(name.at(-1), text[end])) places.push(at);
  }
  return places;
}

function inOneWord(left, right) {
  return left !== undefined && right !== undefined && WORD.test(left) && WORD.test(right);
}

/** Return a text in lower case, of the same length. */
function fold(text) {
  const lower = text.toLowerCase();
  if (lower.length === text.length) return lower;
  return Array.from({ length: text.length }, (_, index) => {
    const letter = text[index].toLowerCase();
    return letter.length === 1 ? letter : text[index];
  }).join("");
}

function respell(text, name, places) {
  let end = 0;
  const parts = [];
  for (const at of places) {
    parts.push(text.slice(end, at), name);
    end = at + name.length;
  }
  return parts.join("") + text.slice(end);
}

function linesOf(text) {
  const lines = text.split("\n").map((line) => line.trim()).filter(Boolean);
  return lines.length ? lines : [text];
}

function several() {
  return $("lines").checked && !$("lines-field").hidden;
}

/** Say what of the prompts has no effect, and offer one image for each line. */
export function showNotes() {
  const lines = linesOf($("prompt").value).length;
  $("lines-field").hidden = lines < 2;
  $("lines-count").textContent = lines > LINES ? `the first ${LINES} of ${lines}` : lines;
  $("prompt-note").textContent = notes().join(" ");
}

function notes() {
  if (!model()) return [];
  const { loras: known = [], embeddings: names = [] } = model().capabilities ?? {};
  const prompts = [$("prompt").value, $("negative_prompt").value];
  const unknown = extractLoras(prompts[0], known).left;
  const { names: used, left } = findEmbeddings(prompts, names);
  return [
    ...(unknown.length ? [`Left out: ${unknown.slice(0, 5).join(" ")}, which the model does not have.`] : []),
    ...(used.length ? [`Embeddings: ${used.join(", ")}.`] : []),
    ...(left.length ? [`At most ${EMBEDDINGS} embeddings are used, without ${left.slice(0, 5).join(", ")}.`] : []),
  ];
}

for (const id of ["prompt", "negative_prompt"]) {
  $(id).addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(showNotes, PAUSE);
  });
}
