// The playground: composes the form, the images to send, the queue and the results.

import { listModels } from "./shared/api.js";
import * as adapters from "./form/adapters.js";
import * as controls from "./inputs/controls.js";
import * as dropping from "./shared/dropping.js";
import * as gallery from "./results/gallery.js";
import * as imageActions from "./inputs/image_actions.js";
import * as initialImage from "./inputs/initial_image.js";
import * as link from "./form/link.js";
import * as messages from "./results/messages.js";
import * as notice from "./form/notice.js";
import * as presets from "./form/presets.js";
import * as queue from "./results/queue.js";
import * as references from "./inputs/references.js";
import * as settings from "./form/settings.js";
import * as selection from "./results/selection.js";
import * as viewer from "./results/viewer.js";
import { addAction, offer } from "./results/actions.js";
import { showNotice } from "./results/notice.js";
import { clearError, showError, showStatus } from "./results/messages.js";
import { copy } from "./shared/clipboard.js";
import { requests } from "./form/prompts.js";
import { validate } from "./form/validation.js";

const $ = (id) => document.getElementById(id);
const KEY = "tintype-key";
const RETRY = 3000; // milliseconds

const inputs = [initialImage, references, controls, adapters]; // what a request sends in addition to its settings
const narrow = matchMedia("(max-width: 56rem)");

let retryTimer = 0; // the timer of the next request for the models
let linkOpened = false;
let modelsError = ""; // the message shown because the models could not be loaded

/** Queue the requests of the form: one, or one for each line of the prompt. */
function run() {
  if (!validate($("form"))) return;
  notice.close();
  clearError();
  showStatus("Generating.");
  const [first] = requests(shared()).map((request) => queue.enqueue(request));
  viewer.follow(first);
  settings.afterRun();
  if (narrow.matches) $("stage").scrollIntoView({ behavior: "smooth", block: "start" });
}

/** Return the fields of all requests that are not of the form itself. */
function shared() {
  return Object.assign({}, ...inputs.map((one) => one.fields()));
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
    clearError(modelsError);
    openLink();
  } catch (error) {
    if (!again) {
      showError(error);
      modelsError = error.message;
    }
    if (error.status !== 401) retryTimer = setTimeout(loadModels, RETRY, true);
  }
}

/** Use the settings of the address, once the models are known. */
function openLink() {
  if (!linkOpened) link.open(notice.useLink);
  linkOpened = true;
}

/** Offer what the selected model takes. */
function showCapabilities(capabilities, model) {
  for (const one of inputs) one.setCapabilities(capabilities, model);
  offer();
}

/** Take dropped or pasted files, or offer the settings of one that was dropped on no field in particular. */
async function takeFiles(place, files) {
  const take = () => useFiles(place, files).catch(showError);
  if (!(await notice.offer(files[0], take, { taken: Boolean(place) })) || place) await take();
}

/** Use files as images: for the element they are dropped on, otherwise as references if there can be any. */
async function useFiles(place, files) {
  if (place.startsWith("control-")) return controls.take(place, files[0]);
  if (place !== "initial-image" && references.possible()) return references.add(files);
  if ($("initial-image-field").hidden) throw new Error("The selected model takes no images.");
  return initialImage.take(files[0]);
}

/** Fill the form with the request of an image. */
async function reuse({ request }) {
  settings.write(request);
  for (const one of inputs) await one.restore(request).catch(showError);
  settings.write(request); // with the size, which an image may have changed
  $("prompt").focus();
}

/** Copy a link to settings, and say what it leaves out. */
function copyLink(request) {
  return copy(link.linkTo(request), (text) => showStatus([text, link.leftOut(request)].join(" ")));
}

function openResults() {
  messages.open({ requestKey });
  viewer.open({
    report: showStatus,
    needsKey: () => !$("key-field").hidden,
    onChange: gallery.mark,
    place: gallery.place,
    step: gallery.step,
  });
  gallery.open((text) => showNotice(text, { seconds: 0 }));
  queue.open({
    key: () => $("key").value,
    onImage: gallery.addImage,
    onOpen: (entry) => viewer.follow(entry, { again: true }),
    onDone: (entry, images, seconds) => {
      if (entry.view) viewer.finish(entry, images[0]);
      showStatus(`Ready after ${seconds.toFixed(1)} s.`);
    },
    onFail: (entry, error) => {
      viewer.leave(entry);
      showStatus(error.name === "AbortError" ? "Cancelled." : "");
      messages.noteError(error);
    },
  });
  addAction({ id: "reuse", label: "Use these settings", run: reuse });
  addAction({ id: "link", label: "Copy link", run: ({ request }) => copyLink(request) });
  addAction({ id: "compare-with", label: "Compare with …", run: selection.beginComparison });
  addAction({ id: "delete", label: "Delete", run: ({ id }) => selection.discard([id]) });
  imageActions.open();
}

function openForm() {
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
  $("key").addEventListener("change", () => {
    sessionStorage.setItem(KEY, $("key").value);
    loadModels();
  });
}

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run();
  if (event.key === "Escape") queue.cancelNewest();
});

openForm();
openResults();
for (const one of inputs) one.open(showError);
for (const one of [presets, notice]) one.open();
$("copy-link").addEventListener("click", () => copyLink({ ...settings.describe(), ...shared() }));
dropping.open((place, files) => {
  clearError();
  return takeFiles(place, files).catch(showError);
});
settings.watchModel(showCapabilities);
loadModels();
