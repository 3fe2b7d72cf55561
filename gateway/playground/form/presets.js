// Settings that are saved under a name in this browser: saved, applied, renamed, deleted, exported and imported.

import * as adapters from "./adapters.js";
import { adopt } from "./adopt.js";
import { carried, check, short } from "./fields.js";
import { describe } from "./settings.js";

const KEY = "tintype-presets";
const COUNT = 100; // presets
const SIZE = 1_000_000; // characters of all of them
const FORMAT = "tintype-presets";

const $ = (id) => document.getElementById(id);
const report = (text) => ($("presets-note").textContent = text);

let presets = []; // { name, request }, by name
let deleted = null; // the preset that was deleted last

/** Return presets of a text as exports have it. Throws an Error that says what is wrong. */
export function parsePresets(text) {
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    throw new Error("The file is not JSON.");
  }
  if (found?.format !== FORMAT || !Array.isArray(found.presets)) throw new Error("The file has no presets of tintype.");
  if (found.presets.length > COUNT) throw new Error(`The file has more than ${COUNT} presets.`);
  return found.presets.map(checkPreset);
}

function checkPreset(preset, index) {
  if (typeof preset?.name !== "string" || !preset.name.trim() || preset.name.length > 100) throw new Error(`Preset ${index + 1} has no name of at most 100 characters.`);
  const { request, problems } = check(preset.request ?? {});
  if (problems.length) throw new Error(`${short(preset.name)}: ${problems[0]}`);
  return { name: preset.name.trim(), request };
}

/** Return the text of an export. */
export function formatPresets(list) {
  return JSON.stringify({ format: FORMAT, version: 1, presets: list }, null, 1);
}

/** Return a list with presets added; they take the place of those with their names. */
export function merge(list, added) {
  const byName = new Map([...list, ...added].map((one) => [one.name, one]));
  return [...byName.values()].sort((one, other) => one.name.localeCompare(other.name));
}

/** Keep a list and show it. Throws an Error if it is too large, or if the browser keeps nothing. */
function keep(list, selected = "") {
  const text = formatPresets(list);
  if (list.length > COUNT || text.length > SIZE) throw new Error(`At most ${COUNT} presets of ${SIZE} characters can be kept: delete some.`);
  try {
    localStorage.setItem(KEY, text);
  } catch {
    throw new Error("The browser does not keep presets for this page.");
  }
  presets = list;
  show(selected);
}

function load() {
  try {
    presets = parsePresets(localStorage.getItem(KEY) ?? formatPresets([]));
  } catch {
    presets = []; // of another version; the next one that is saved takes its place
  }
}

function show(selected) {
  $("preset").replaceChildren(new Option(presets.length ? "Choose …" : "None yet", ""), ...presets.map(({ name }) => new Option(name, name)));
  $("preset").value = selected;
  $("preset-name").value = selected;
  showButtons();
}

function showButtons() {
  const one = chosen();
  for (const id of ["preset-apply", "preset-delete"]) $(id).disabled = !one;
  $("preset-export").disabled = !presets.length;
  $("preset-rename").hidden = !one || [one.name, ""].includes($("preset-name").value.trim());
  $("preset-undo").hidden = !deleted;
}

function chosen() {
  return presets.find(({ name }) => name === $("preset").value);
}

function save() {
  const name = $("preset-name").value.trim();
  if (!name) {
    $("preset-name").focus();
    throw new Error("Give it a name.");
  }
  const known = presets.some((one) => one.name === name);
  keep(merge(presets, [{ name, request: carried({ ...describe(), ...adapters.fields() }) }]), name);
  report(known ? `Saved ${short(name)} again.` : `Saved ${short(name)}.`);
}

async function apply() {
  const problems = await adopt(chosen().request);
  report([`Applied ${short(chosen().name)}.`, ...problems].join(" "));
}

function rename() {
  const { name, request } = chosen();
  const renamed = $("preset-name").value.trim();
  if (presets.some((one) => one.name === renamed)) throw new Error(`There is a preset ${short(renamed)} already.`);
  keep(merge(presets.filter((one) => one.name !== name), [{ name: renamed, request }]), renamed);
  report(`Renamed ${short(name)}.`);
}

function remove() {
  deleted = chosen();
  keep(presets.filter((one) => one !== deleted));
  report(`Deleted ${short(deleted.name)}.`);
  $("preset-undo").focus();
}

function undo() {
  const back = deleted;
  deleted = null;
  keep(merge(presets, [back]), back.name);
  report(`${short(back.name)} is back.`);
  $("preset").focus();
}

function download() {
  const url = URL.createObjectURL(new Blob([formatPresets(presets)], { type: "application/json" }));
  Object.assign(document.createElement("a"), { href: url, download: "tintype-presets.json" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

async function upload(file) {
  if (file.size > SIZE) throw new Error(`The file is larger than ${SIZE} bytes.`);
  const added = parsePresets(await file.text());
  keep(merge(presets, added));
  report(`Imported ${added.length}.`);
}

/** Connect an action; its error is shown in the group. */
function connect(id, action) {
  $(id).addEventListener("click", async () => {
    try {
      await action();
    } catch (error) {
      report(error.message);
    }
  });
}

/** Connect the group. */
export function open() {
  load();
  show("");
  const actions = { apply, save, rename, delete: remove, undo, export: download };
  for (const [name, action] of Object.entries(actions)) connect(`preset-${name}`, action);
  $("preset").addEventListener("change", () => {
    $("preset-name").value = $("preset").value;
    showButtons();
  });
  $("preset-name").addEventListener("input", showButtons);
  $("preset-import").addEventListener("change", async ({ target }) => {
    if (target.files[0]) await upload(target.files[0]).catch((error) => report(error.message));
    target.value = "";
  });
}
