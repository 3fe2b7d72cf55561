// The playground: one form, one request at a time, and its results.

import { Failure, generate, listModels } from "./shared/api.js";
import * as controls from "./inputs/controls.js";
import * as dropping from "./shared/dropping.js";
import * as gallery from "./results/gallery.js";
import * as initialImage from "./inputs/initial_image.js";
import * as progress from "./results/progress.js";
import * as references from "./inputs/references.js";
import * as settings from "./form/settings.js";
import { validate } from "./form/validation.js";

const $ = (id) => document.getElementById(id);
const KEY = "tintype-key";
const RETRY = 3000; // milliseconds

const inputs = [initialImage, references, controls]; // images to send

let running = null; // the AbortController of the current request
let retryTimer = 0; // the timer of the next request for the models
let modelsError = ""; // the message shown because the models could not be loaded

async function run() {
  if (running || !validate($("form"))) return;
  const request = Object.assign(settings.read(), ...inputs.map((one) => one.fields()));
  const started = performance.now();
  begin(request);
  try {
    gallery.show(await make(request, running.signal));
    showStatus(`Ready after ${((performance.now() - started) / 1000).toFixed(1)} s.`);
  } catch (error) {
    gallery.back();
    showError(error);
  } finally {
    end();
  }
}

/** Make all images; return the first of them. */
async function make(request, signal) {
  const images = [];
  for await (const event of generate(request, { key: $("key").value, signal })) {
    progress.HANDLERS[event.type]?.(event);
    if (!event.b64_json) continue;
    const index = event.image_index ?? 0;
    const type = `image/${event.output_format}`;
    const blob = new Blob([decodeBase64(event.b64_json)], { type });
    await progress.draw(index, blob);
    if (event.type !== "image_generation.completed") continue;
    images[index] = { url: URL.createObjectURL(blob), blob, type, request: requestOfImage(request, index) };
    gallery.add(images[index]);
  }
  return images.find(Boolean);
}

/** Return the request that makes one of several images again: each has the next seed. */
function requestOfImage(request, index) {
  const { n, ...rest } = request;
  return { ...rest, seed: request.seed + index };
}

function decodeBase64(base64) {
  const text = atob(base64);
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}

function begin(request) {
  running = new AbortController();
  showStatus("Generating.");
  clearError();
  $("generate").disabled = true;
  $("stage").setAttribute("aria-busy", "true");
  gallery.hide();
  progress.begin(request);
  if (narrow.matches) $("stage").scrollIntoView({ behavior: "smooth", block: "start" });
}

function end() {
  running = null;
  $("generate").disabled = false;
  $("stage").removeAttribute("aria-busy");
  progress.end();
}

function cancel() {
  running?.abort();
}

function showStatus(text) {
  $("status").textContent = text;
}

function showError(error) {
  if (error.name === "AbortError") return showStatus("Cancelled.");
  showStatus("");
  $("error").textContent = error.message;
  if (error instanceof Failure && error.status === 401) requestKey();
  const field = error.param && $("form").querySelector(`[name="${CSS.escape(error.param)}"]`);
  field?.focus();
}

function clearError() {
  $("error").textContent = "";
}

function requestKey() {
  $("key-field").hidden = false;
  $("key").focus();
}

/** Load the models, and retry until it succeeds: the service may be starting. Call it again after a change of the key. */
async function loadModels(again = false) {
  clearTimeout(retryTimer);
  try {
    settings.setModels(await listModels($("key").value));
    if ($("error").textContent === modelsError) clearError();
  } catch (error) {
    if (!again) {
      showError(error);
      modelsError = error.message;
    }
    if (error.status !== 401) retryTimer = setTimeout(loadModels, RETRY, true);
  }
}

/** Offer what the selected model takes. */
function showCapabilities(capabilities) {
  for (const one of inputs) one.setCapabilities(capabilities);
  $("vary").hidden = $("initial-image-field").hidden;
  $("refer").hidden = !references.possible();
}

/** Take dropped or pasted files: for the element they are dropped on, otherwise as references if there can be any. */
async function takeFiles(place, files) {
  if (place.startsWith("control-")) return controls.take(place, files[0]);
  if (place !== "initial-image" && references.possible()) return references.add(files);
  if ($("initial-image-field").hidden) throw new Error("The selected model takes no images.");
  return initialImage.take(files[0]);
}

const narrow = matchMedia("(max-width: 56rem)");
if (narrow.matches) $("settings").open = false;
$("key").value = sessionStorage.getItem(KEY) ?? "";
$("key-field").hidden = !$("key").value;

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
$("form").addEventListener("change", ({ target }) => target.type === "file" && clearError(), true); // before its own
$("ideas").addEventListener("click", ({ target }) => {
  if (target.tagName !== "BUTTON") return;
  $("prompt").value = target.textContent;
  run();
});
$("cancel").addEventListener("click", cancel);
$("key").addEventListener("change", () => {
  sessionStorage.setItem(KEY, $("key").value);
  loadModels();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run();
  if (event.key === "Escape" && !$("snippet").open) cancel();
});
gallery.open({
  reuse: async (request) => {
    settings.write(request);
    for (const one of inputs) await one.restore(request).catch(showError);
    settings.write(request); // with the size, which an image may have changed
    $("settings").open = true;
    $("prompt").focus();
  },
  vary: async ({ blob, request }) => {
    settings.write({ ...request, seed: undefined });
    await initialImage.take(blob).catch(showError);
    $("prompt").focus();
  },
  refer: async ({ blob }) => {
    clearError();
    await references.add([blob]).catch(showError);
    $("prompt").focus();
  },
  report: showStatus,
  needsKey: () => !$("key-field").hidden,
});

for (const one of inputs) one.open(showError);
dropping.open((place, files) => {
  clearError();
  return takeFiles(place, files).catch(showError);
});
settings.watchModel(showCapabilities);
loadModels();
