// The dialog of the models: which are in memory and what they take there; they can be loaded and unloaded.

import { changeModel, listModels } from "../shared/api.js";

const $ = (id) => document.getElementById(id);
const REFRESH = 1500; // milliseconds between two looks while the dialog is open
const STATES = { unloaded: "not in memory", loading: "loading", loaded: "in memory", failed: "could not be loaded" };
const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB"];

const rows = new Map(); // by name of the model

let timer = 0;
let key = () => "";

/** Connect the dialog; `given()` returns the API key. */
export function open(given) {
  key = given;
  $("models").addEventListener("close", () => clearTimeout(timer));
  $("models-close").addEventListener("click", () => $("models").close());
  document.addEventListener("visibilitychange", () => !document.hidden && $("models").open && refresh());
}

/** Show the dialog, and keep it up to date while it is open and visible. */
export function show() {
  $("models").showModal();
  refresh();
}

async function refresh() {
  clearTimeout(timer);
  try {
    render((await listModels(key())).filter((model) => !model.alias_of));
    explain("");
  } catch (error) {
    explain(error.message);
  }
  if ($("models").open && !document.hidden) timer = setTimeout(refresh, REFRESH);
}

function render(models) {
  for (const [name, { element }] of rows) if (!models.some(({ id }) => id === name)) element.remove();
  for (const model of models) {
    if (!rows.has(model.id)) rows.set(model.id, createRow(model.id));
    const row = rows.get(model.id);
    if (!row.element.isConnected) $("models-list").append(row.element);
    paint(row, model);
  }
  const loaded = models.filter(({ state }) => state === "loaded");
  const bytes = loaded.reduce((sum, { memory_bytes = 0 }) => sum + memory_bytes, 0);
  $("models-total").textContent = `${loaded.length} of ${models.length} in memory${bytes ? `, ${formatBytes(bytes)} of weights` : ""}`;
}

function createRow(name) {
  const element = document.createElement("li");
  const text = Object.assign(document.createElement("div"), { className: "model-text" });
  const state = Object.assign(document.createElement("p"), { className: "model-state" });
  const bar = Object.assign(document.createElement("progress"), { max: 1 });
  bar.setAttribute("aria-label", `Loading of ${name}`);
  const button = Object.assign(document.createElement("button"), { type: "button" });
  text.append(Object.assign(document.createElement("h3"), { textContent: name }), state, bar);
  element.append(text, button);
  return { element, name, state, bar, button };
}

function paint({ element, name, state, bar, button }, model) {
  element.dataset.state = model.state ?? "";
  const size = model.memory_bytes ? formatBytes(model.memory_bytes) : "";
  const where = [model.provider, ...(model.devices ?? [])].filter(Boolean).join(", ");
  const share = model.load_fraction ?? 0;
  const what = model.state === "loading" ? `loading: ${Math.round(share * 100)} %` : STATES[model.state] ?? "state unknown";
  state.textContent = [what, where, size, model.error].filter(Boolean).join(" · ");
  bar.hidden = model.state !== "loading";
  bar.value = share;
  const verb = model.state === "loaded" || model.state === "loading" ? "unload" : "load";
  button.textContent = verb === "load" ? "Load" : "Unload";
  button.setAttribute("aria-label", `${button.textContent} ${name}`);
  button.onclick = () => change(verb, name, button);
}

async function change(verb, name, button) {
  button.disabled = true;
  $("models-error").textContent = "";
  try {
    await changeModel(verb, name, key());
  } catch (error) {
    $("models-error").textContent = adviceFor(error);
  }
  button.disabled = false;
  refresh();
}

/** Return what to do about an error of loading or unloading. */
function adviceFor({ status, message, code }) {
  if (status === 401) return "Loading and unloading needs an admin key here: enter one in the field “API key”.";
  if (status === 404 || status === 405) return "This server does not load models on request: its first request loads a model.";
  if (code === "out_of_memory") return `${message} Unload another model first.`;
  return message;
}

function explain(text) {
  $("models-problem").textContent = text;
}

/** Return a number of bytes in words. */
export function formatBytes(bytes) {
  const unit = Math.min(UNITS.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, bytes)) / 10)));
  const value = bytes / 1024 ** unit;
  return `${value >= 100 || !unit ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}
