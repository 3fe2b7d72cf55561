// The queue of requests: several run at once, the others wait here. Each has a row, its own progress and its own cancel.

import { generate } from "../shared/api.js";
import { createEntry } from "./entry.js";

const $ = (id) => document.getElementById(id);
const PARALLEL = "tintype-parallel"; // requests at a time, in localStorage
const MAX_PARALLEL = 8;
const DEFAULT_PARALLEL = 2;

const groups = new Set(); // rows for several requests that have none
const entries = []; // waiting, running and failed ones, oldest first
let options = { key: () => "", onStart() {}, onImage: async (image) => image, onDone() {}, onFail() {} };

/**
 * Connect the queue. `key()` returns the API key; `onStart(entry)` is called for a new entry, `onImage(image)` stores an
 * image and returns its record, `onDone(entry, images, seconds)` and `onFail(entry, error)` are called at the end.
 */
export function open(given) {
  options = { ...options, ...given };
  $("parallel").replaceChildren(...Array.from({ length: MAX_PARALLEL }, (_, index) => new Option(index + 1, index + 1)));
  $("parallel").value = parallel();
  $("parallel").addEventListener("change", () => {
    localStorage.setItem(PARALLEL, $("parallel").value);
    startNext();
  });
  $("cancel-all").addEventListener("click", cancelAll);
}

/**
 * Queue a request. `label` names it (default: its prompt), a higher `priority` goes first. With `row: false` it has no
 * row, and fails at once instead of offering another try; `onEvent(event, blob)` is called with its events; with
 * `keep: false` its images are not kept. Returns {id, done, cancel, request}: `done` resolves to the records of the images, in their order.
 */
export function enqueue(request, { label = request.prompt, priority = 0, row = true, keep = true, onEvent = () => {} } = {}) {
  const entry = { id: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`, request, label, priority, keep, onEvent, state: "waiting", abort: null, images: [] };
  entry.done = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
  entry.done.catch(() => {}); // a caller need not wait for it
  entry.cancel = () => cancel(entry);
  if (row) entry.view = createView(entry);
  entries.push(entry);
  if (row) $("queue").append(entry.view.element);
  options.onStart(entry);
  startNext();
  return entry;
}

/** Cancel the newest request with a row that waits or runs; tell whether there was one. */
export function cancelNewest() {
  const newest = [...groups].at(-1) ?? entries.findLast(({ state, view }) => state !== "failed" && view);
  newest?.cancel();
  return Boolean(newest);
}

/** Cancel all requests, and dismiss those that failed. */
export function cancelAll() {
  for (const entry of [...entries]) cancel(entry);
  for (const group of [...groups]) group.cancel();
}

/**
 * Add a row for several requests without rows: {view, show(done, total), remove(), cancel()}. `tiles` is what is shown
 * large for it; `onCancel()` cancels them.
 */
export function addGroup({ label, tiles, request, onCancel }) {
  const group = { cancel: onCancel };
  group.view = createEntry({ request, label, tiles, onCancel, onOpen: () => options.onOpen?.(group) });
  group.view.begin();
  group.show = (done, total) => group.view.show(`${done} of ${total} images`, done / total);
  group.remove = () => {
    groups.delete(group);
    group.view.element.remove();
    update();
  };
  groups.add(group);
  $("queue").append(group.view.element);
  update();
  return group;
}

/** Return how many requests wait or run. */
export function count() {
  return entries.filter(({ state }) => state !== "failed").length;
}

/** Send requests again that wait for the service. */
export function resume() {
  for (const entry of entries) if (entry.state === "held") wait(entry);
  startNext();
}

/** Let a failed or running request wait until `resume` is called, with the reason. */
export function hold(entry, reason) {
  entry.state = "held";
  entry.view?.wait(reason);
  update();
}

function createView(entry) {
  return createEntry({
    request: entry.request,
    label: entry.label,
    onCancel: () => cancel(entry),
    onDismiss: () => cancel(entry),
    onRetry: () => {
      wait(entry);
      startNext();
    },
    onOpen: () => options.onOpen?.(entry),
  });
}

function parallel() {
  const chosen = Number(localStorage.getItem(PARALLEL));
  return chosen >= 1 && chosen <= MAX_PARALLEL ? chosen : DEFAULT_PARALLEL;
}

function wait(entry) {
  entry.state = "waiting";
  entry.view?.wait();
}

function startNext() {
  let free = parallel() - entries.filter(({ state }) => state === "running").length;
  const waiting = entries.filter(({ state }) => state === "waiting").sort((one, other) => other.priority - one.priority);
  for (const entry of waiting) if (free-- > 0) run(entry);
  update();
}

async function run(entry) {
  entry.state = "running";
  entry.abort = new AbortController();
  entry.view?.begin();
  const started = performance.now();
  try {
    const images = await make(entry);
    remove(entry);
    entry.resolve(images);
    options.onDone(entry, images, (performance.now() - started) / 1000);
  } catch (error) {
    fail(entry, error);
  } finally {
    startNext();
  }
}

/** Make all images of a request; return their records. */
async function make(entry) {
  const { images } = entry; // those of an earlier try stay
  for await (const event of generate(entry.request, { key: options.key(), signal: entry.abort.signal })) {
    entry.view?.report(event);
    const blob = event.b64_json && decode(event);
    entry.onEvent(event, blob);
    if (!blob) continue;
    const index = event.image_index ?? 0;
    const size = await entry.view?.draw(index, blob);
    if (event.type !== "image_generation.completed" || images[index]) continue;
    const image = { blob, type: blob.type, request: requestOfImage(entry.request, index), created: Date.now(), ...size };
    images[index] = entry.keep ? await options.onImage(image) : image;
  }
  return images.filter(Boolean);
}

function fail(entry, error) {
  const cancelled = error.name === "AbortError";
  if (cancelled || !entry.view) {
    remove(entry);
    entry.reject(error);
  } else {
    entry.state = "failed";
    entry.view.fail(error.message);
  }
  entry.error = error;
  options.onFail(entry, error);
}

function cancel(entry) {
  if (!entries.includes(entry)) return;
  if (entry.state === "running") return entry.abort.abort();
  const dismissed = entry.state === "failed";
  remove(entry);
  const error = dismissed ? entry.error : new DOMException("Cancelled.", "AbortError");
  entry.reject(error);
  if (!dismissed) options.onFail(entry, error);
  else options.onDismiss?.(entry);
  startNext();
}

function remove(entry) {
  if (entries.includes(entry)) entries.splice(entries.indexOf(entry), 1);
  entry.view?.element.remove();
}

/** Show the head of the queue if there is something in it. */
function update() {
  const rows = [...entries.filter(({ view }) => view), ...groups];
  const active = count();
  $("queue-section").hidden = !rows.length;
  $("queue-title").textContent = active > 1 ? `Queue: ${active}` : "Queue";
  $("cancel-all").hidden = rows.length < 2;
  $("stage").toggleAttribute("data-busy", active > 0);
}

/** Return the request that makes one of several images again: each has the next seed. */
function requestOfImage(request, index) {
  const { n, ...rest } = request;
  return { ...rest, seed: request.seed + index };
}

function decode({ b64_json, output_format }) {
  const text = atob(b64_json);
  return new Blob([Uint8Array.from(text, (letter) => letter.charCodeAt(0))], { type: `image/${output_format}` });
}
