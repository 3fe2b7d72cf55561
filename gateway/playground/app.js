// The playground: one form, one request at a time, and what came of it.

import { Failure, generate, models, takesPictures } from "./api.js";
import { check } from "./checking.js";
import * as gallery from "./gallery.js";
import * as making from "./making.js";
import * as settings from "./settings.js";
import * as source from "./source.js";

const $ = (id) => document.getElementById(id);
const KEY = "tintype-key";
const AGAIN = 3000; // milliseconds

let running = null; // the AbortController of the request under way
let asking = 0; // the timer of the next question for the models
let unknown = ""; // what was said while there were none

async function run() {
  if (running || !check($("form"))) return;
  const wanted = { ...settings.read(), ...source.picture() };
  const started = performance.now();
  begin(wanted);
  try {
    const last = await make(wanted, running.signal);
    gallery.show(last);
    say(`Ready after ${((performance.now() - started) / 1000).toFixed(1)} s.`);
  } catch (error) {
    gallery.back();
    fail(error);
  } finally {
    end();
  }
}

/** Make all pictures; return the first of them. */
async function make(wanted, signal) {
  const made = [];
  for await (const event of generate(wanted, { key: $("key").value, signal })) {
    making.TELL[event.type]?.(event);
    if (!event.b64_json) continue;
    const index = event.image_index ?? 0;
    const type = `image/${event.output_format}`;
    const blob = new Blob([bytes(event.b64_json)], { type });
    await making.draw(index, blob);
    if (event.type !== "image_generation.completed") continue;
    made[index] = { url: URL.createObjectURL(blob), blob, type, wanted: alone(wanted, index) };
    gallery.add(made[index]);
  }
  return made.find(Boolean);
}

/** Return the request that makes one picture of several again: each has the next seed. */
function alone(wanted, index) {
  const { n, ...rest } = wanted;
  return { ...rest, seed: wanted.seed + index };
}

function bytes(base64) {
  const text = atob(base64);
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}

function begin(wanted) {
  running = new AbortController();
  say("Making it.");
  $("error").textContent = "";
  $("generate").disabled = true;
  $("stage").setAttribute("aria-busy", "true");
  gallery.hide();
  making.begin(wanted);
  if (narrow.matches) $("stage").scrollIntoView({ behavior: "smooth", block: "start" });
}

function end() {
  running = null;
  $("generate").disabled = false;
  $("stage").removeAttribute("aria-busy");
  making.end();
}

function cancel() {
  running?.abort();
}

function say(text) {
  $("status").textContent = text;
}

function fail(error) {
  if (error.name === "AbortError") return say("Cancelled.");
  say("");
  $("error").textContent = error.message;
  if (error instanceof Failure && error.status === 401) askForKey();
  const at = error.param && $("form").querySelector(`[name="${CSS.escape(error.param)}"]`);
  at?.focus();
}

function askForKey() {
  $("key-field").hidden = false;
  $("key").focus();
}

/** Ask the server what it has, until it says so: the service may be starting; again once it has got its key. */
async function learn(again = false) {
  clearTimeout(asking);
  try {
    settings.offer(await models($("key").value));
    if ($("error").textContent === unknown) $("error").textContent = "";
  } catch (error) {
    if (!again) {
      fail(error);
      unknown = error.message;
    }
    if (error.status !== 401) asking = setTimeout(learn, AGAIN, true);
  }
}

async function offerPictures() {
  if (!(await takesPictures().catch(() => false))) return;
  source.open(fail);
  $("vary").hidden = false;
}

const narrow = matchMedia("(max-width: 56rem)");
if (narrow.matches) $("settings").open = false;
$("key").value = sessionStorage.getItem(KEY) ?? "";
$("key-field").hidden = !$("key").value;

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
$("ideas").addEventListener("click", ({ target }) => {
  if (target.tagName !== "BUTTON") return;
  $("prompt").value = target.textContent;
  run();
});
$("cancel").addEventListener("click", cancel);
$("key").addEventListener("change", () => {
  sessionStorage.setItem(KEY, $("key").value);
  learn();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run();
  if (event.key === "Escape" && !$("snippet").open) cancel();
});
gallery.open({
  reuse: async (wanted) => {
    await source.restore(wanted).catch(fail);
    settings.write(wanted);
    $("settings").open = true;
    $("prompt").focus();
  },
  vary: async ({ blob, wanted }) => {
    settings.write({ ...wanted, seed: undefined });
    await source.take(blob).catch(fail);
    $("prompt").focus();
  },
  told: say,
  keyed: () => !$("key-field").hidden,
});

learn();
offerPictures();
