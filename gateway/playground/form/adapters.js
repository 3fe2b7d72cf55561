// LoRA adapters with their weights, and embeddings (textual inversion), which are words of a prompt.

import { insert } from "./prompt_editing.js";
import { showNotes } from "./prompts.js";

const $ = (id) => document.getElementById(id);
const LIMIT = 8; // adapters of one request
const RANGE = { min: -4, max: 4, step: 0.05 };

let chosen = []; // { name, weight }
let known = []; // the names of the model's adapters

/** Return the fields of a request for the adapters that the model has; none without any. */
export function fields() {
  const loras = chosen.filter(({ name }) => known.includes(name));
  return loras.length ? { loras: loras.map((one) => ({ ...one })) } : {};
}

/** Offer the adapters and embeddings of the model. */
export function setCapabilities({ loras = [], embeddings = [] } = {}, model) {
  known = loras;
  showNames("lora", "Add a LoRA …", loras);
  showNames("embedding", "Choose an embedding …", embeddings);
  $("lora-field").hidden = !loras.length && !chosen.length;
  $("embedding-field").hidden = !embeddings.length;
  $("adapters-none").hidden = !model || loras.length + embeddings.length > 0;
  render();
  showInsert();
  showNotes();
}

function showNames(id, prompt, names) {
  $(id).replaceChildren(new Option(prompt, ""), ...names.map((name) => new Option(name, name)));
}

/** Connect the fields. */
export function open() {
  $("lora").addEventListener("change", () => add($("lora").value));
  $("embedding").addEventListener("change", showInsert);
  $("embedding-insert").addEventListener("click", () => insertEmbedding($("prompt")));
  $("embedding-insert-negative").addEventListener("click", () => {
    $("negative-group").open = true;
    insertEmbedding($("negative_prompt"));
  });
}

/** Restore the adapters of a request, or none. */
export async function restore({ loras = [] }) {
  chosen = loras.slice(0, LIMIT).map(({ name, weight = 1 }) => ({ name, weight }));
  $("lora-field").hidden = !known.length && !chosen.length;
  if (chosen.length) $("adapters-group").open = true;
  render();
}

function add(name) {
  $("lora").value = "";
  if (!name) return;
  const index = chosen.findIndex((one) => one.name === name);
  if (index < 0) chosen.push({ name, weight: 1 });
  render();
  $("loras").children[index < 0 ? chosen.length - 1 : index].querySelector("input").focus();
}

function remove(index) {
  chosen.splice(index, 1);
  render();
  ($("loras").children[Math.min(index, chosen.length - 1)]?.querySelector("button") ?? $("lora")).focus();
}

function render() {
  $("loras").replaceChildren(...chosen.map(row));
  $("lora").disabled = chosen.length >= LIMIT;
  $("lora-note").textContent = chosen.length >= LIMIT ? `At most ${LIMIT} can be used.` : "";
  showCount();
}

function showCount() {
  const count = chosen.filter(({ name }) => known.includes(name)).length;
  $("adapters-count").textContent = count ? `${count} in use` : "";
}

/** Return a row: the name, a slider and a field for its weight, and a button that removes it. */
function row(lora, index) {
  const item = document.createElement("li");
  const name = Object.assign(document.createElement("span"), { className: "name", textContent: lora.name, title: lora.name });
  const slider = Object.assign(document.createElement("input"), { type: "range", ...RANGE, value: lora.weight });
  const exact = Object.assign(document.createElement("input"), { type: "number", ...RANGE, step: "any", value: lora.weight });
  for (const [input, other] of [[slider, exact], [exact, slider]]) {
    input.addEventListener("input", () => {
      if (!input.validity.valid || input.value === "") return;
      lora.weight = input.valueAsNumber;
      other.value = input.value;
    });
  }
  exact.id = `lora-weight-${index}`; // for its message, see validation.js
  slider.setAttribute("aria-label", `Weight of ${lora.name}, slider`);
  exact.setAttribute("aria-label", `Weight of ${lora.name}`);
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: "×" });
  button.setAttribute("aria-label", `Remove ${lora.name}`);
  button.addEventListener("click", () => remove(index));
  item.append(name, button, slider, exact);
  if (!known.includes(lora.name)) item.append(Object.assign(document.createElement("p"), { className: "hint", textContent: "The model does not have it: left out." }));
  return item;
}

function showInsert() {
  for (const id of ["embedding-insert", "embedding-insert-negative"]) $(id).disabled = !$("embedding").value;
}

/** Insert the chosen embedding into a prompt, with its weight unless that is 1. */
function insertEmbedding(area) {
  const [name, weight] = [$("embedding").value, $("embedding-weight").valueAsNumber];
  if (!name) return;
  const weighted = Number.isFinite(weight) && weight !== 1;
  if (weighted) $("prompt_weighting").checked = true;
  insert(area, weighted ? `(${name}:${weight})` : name);
}
