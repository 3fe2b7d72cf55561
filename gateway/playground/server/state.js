// Whether images can be made: the models are asked for, again and again while they can't be had, and one banner says
// what is wrong and what to do about it.

import { listModels } from "../shared/api.js";

const $ = (id) => document.getElementById(id);
const RETRY = 3000; // milliseconds
const OUTAGES = new Set([0, 502, 503, 504]); // statuses of a gateway or service that does not answer

let timer = 0;
let asked = null; // the running question
let options = { key: () => "", onModels() {}, onKey() {}, onBack() {} };

/**
 * Ask for the models until they come. `onModels(models)` gets them each time, `onBack()` is called when a problem has
 * ended, `onKey()` if a key is needed; `key()` returns the one there is.
 */
export function open(given) {
  options = given;
  addEventListener("online", () => check());
  addEventListener("offline", () => check());
  $("banner-retry").addEventListener("click", () => check());
  return check();
}

/** Ask for the models once, and again later if they don't come. Returns whether images can be made. */
export function check() {
  clearTimeout(timer);
  asked ??= ask().finally(() => (asked = null));
  return asked;
}

/** Whether an error may be that of a server which does not answer at all. */
export function isOutage({ status }) {
  return OUTAGES.has(status);
}

async function ask() {
  try {
    const models = await listModels(options.key());
    options.onModels(models);
    show(models.length ? null : NO_MODELS);
    if (!models.length) again();
    return models.length > 0;
  } catch (error) {
    show(explain(error));
    if (error.status === 401) options.onKey();
    else again();
    return false;
  }
}

function again() {
  timer = setTimeout(check, RETRY);
}

const NO_MODELS = ["The server has no models.", "Start it with a model, or without --model for the built-in one. This page looks again by itself."];
const BY_ITSELF = "This page tries again by itself, and waiting requests go on then.";

/** Return what is wrong and what to do about it. */
function explain({ status, message, code }) {
  if (!navigator.onLine && !status) return ["Your device is offline.", `Connect it to the network of the server. ${BY_ITSELF}`];
  if (!status) return ["The server can't be reached.", `Is it running, as with “tintype up”? It may be restarting. ${BY_ITSELF}`];
  if (status === 401 && code === "invalid_api_key" && options.key()) return ["The API key is wrong.", "Check it, or ask for a new one: “tintype keys create NAME” prints one."];
  if (status === 401) return ["This server requires an API key.", "Enter it in the field “API key”. “tintype keys create NAME” prints one where the server runs."];
  if (status === 403) return ["You may not use this server.", message];
  if (isOutage({ status })) return [message.split(/(?<=\.)\s/)[0], `It may be starting. ${BY_ITSELF}`];
  return ["The models can't be listed.", `${message} ${BY_ITSELF}`];
}

function show(problem) {
  const was = !$("banner").hidden;
  $("banner").hidden = !problem;
  for (const [index, id] of ["banner-what", "banner-advice"].entries()) {
    const text = problem?.[index] ?? "";
    if ($(id).textContent !== text) $(id).textContent = text; // screen readers read each change
  }
  if (was && !problem) options.onBack();
}
