// The playground: composes the form, the images to send, the queue and the results.

import * as adapters from "./form/adapters.js";
import * as controls from "./inputs/controls.js";
import * as dropping from "./shared/dropping.js";
import * as gallery from "./results/gallery.js";
import * as grid from "./grid/grid.js";
import * as gridPanel from "./grid/panel.js";
import * as imageActions from "./inputs/image_actions.js";
import * as initialImage from "./inputs/initial_image.js";
import * as keyboard from "./results/keyboard.js";
import * as link from "./form/link.js";
import * as messages from "./results/messages.js";
import * as modelsPanel from "./server/models.js";
import * as notice from "./form/notice.js";
import * as presets from "./form/presets.js";
import * as queue from "./results/queue.js";
import * as references from "./inputs/references.js";
import * as selection from "./results/selection.js";
import * as serverState from "./server/state.js";
import * as settings from "./form/settings.js";
import * as viewer from "./results/viewer.js";
import { addAction, offer } from "./results/actions.js";
import { showToast } from "./results/toast.js";
import { clearError, showError, showStatus } from "./results/messages.js";
import { copy } from "./shared/clipboard.js";
import { requests } from "./form/prompts.js";
import { scrollToElement } from "./shared/scrolling.js";
import { validate } from "./form/validation.js";

const $ = (id) => document.getElementById(id);
const KEY = "tintype-key";

const inputs = [initialImage, references, controls, adapters]; // what a request sends in addition to its settings
const narrow = matchMedia("(max-width: 56rem)");

let models = []; // of the server
let linkOpened = false;

/** Queue the requests of the form: one, or one for each line of the prompt. */
function run() {
  if (!validate($("form"))) return;
  notice.close();
  clearError();
  showStatus("Generating.");
  const [first] = requests(shared()).map((request) => queue.enqueue(request));
  viewer.follow(first);
  settings.afterRun();
  if (narrow.matches) scrollToElement($("stage"), "start");
}

/** Return the fields of all requests that are not of the form itself. */
function shared() {
  return Object.assign({}, ...inputs.map((one) => one.fields()));
}

function requestKey() {
  $("key-field").hidden = false;
  $("key").focus();
}

/** Ask for the models, and again until the service is there; requests that wait for it go on then. */
function openServer() {
  serverState.open({
    key: () => $("key").value,
    onKey: requestKey,
    onBack: queue.resume,
    onModels: (listed) => {
      if (JSON.stringify(listed) !== JSON.stringify(models)) settings.setModels(listed);
      models = listed;
      imageActions.update();
      openLink();
    },
  });
  modelsPanel.open(() => $("key").value);
  $("models-open").addEventListener("click", modelsPanel.show);
  $("models").addEventListener("close", () => serverState.check());
}

/** Let a request wait that failed because the server does not answer. */
async function holdInOutage(entry, error) {
  if (entry.view && serverState.isOutage(error) && !(await serverState.check())) queue.hold(entry, "Waits for the server");
}

function openGrid() {
  gridPanel.open({ request: () => requests(shared())[0], models: () => models, onStart: makeGrid });
  $("grid-open").addEventListener("click", () => validate($("form")) && gridPanel.show());
}

function makeGrid(plan) {
  clearError();
  showStatus("Generating.");
  return grid.run(plan, {
    follow: (group) => viewer.follow(group, { again: true }),
    choose: viewer.choose,
    finish: (group, image, problem) => {
      viewer.finish(group, image);
      if (problem) showError(problem);
      else showStatus("The grid is ready.");
    },
    leave: (group, problem) => {
      viewer.leave(group);
      if (problem) showError(problem);
      else showStatus("Cancelled.");
    },
  });
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
  gallery.open((text) => showToast(text, { seconds: 0 }));
  queue.open({
    key: () => $("key").value,
    onImage: gallery.addImage,
    onOpen: (entry) => viewer.follow(entry, { again: true }),
    onDone: (entry, images, seconds) => {
      if (settings.model()?.state !== "loaded") serverState.check(); // it is now
      if (!entry.view) return; // a part of something else
      viewer.finish(entry, images[0]);
      showStatus(`Ready after ${seconds.toFixed(1)} s.`);
    },
    onFail: (entry, error) => {
      if (!entry.view) return;
      holdInOutage(entry, error);
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
    serverState.check();
  });
}

openForm();
openResults();
for (const one of inputs) one.open(showError);
for (const one of [presets, notice]) one.open();
$("copy-link").addEventListener("click", () => copyLink({ ...settings.describe(), ...shared() }));
dropping.open((place, files) => {
  clearError();
  return takeFiles(place, files).catch(showError);
});
keyboard.open({ run, step: gallery.step });
settings.watchModel(showCapabilities);
openGrid();
openServer();
