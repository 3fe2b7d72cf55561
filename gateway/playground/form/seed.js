// The seed: random for each request, kept, or one that counts on. The form shows what the next request will have.

const SEEDS = 2 ** 31; // random seeds are below it: short enough to type
const $ = (id) => document.getElementById(id);
const form = $("form");

let last = null; // the seed of the last request
let following = 0; // the seed after those of the last requests

const mode = () => form.elements["seed-mode"].value;
const setMode = (value) => (form.elements["seed-mode"].value = value);
const random = () => Math.floor(Math.random() * SEEDS);
const typed = () => ($("seed").value === "" ? undefined : $("seed").valueAsNumber);

/** Return the seeds of `count` requests of `n` images each: those that run next. */
export function takeSeeds(count, n) {
  last = typed() ?? random();
  const step = mode() === "next" ? n : 0;
  const seeds = Array.from({ length: count }, (_, index) => within(last + index * step));
  following = within(last + (step ? count * n : 0));
  return mode() === "random" ? seeds.map((seed, index) => (index ? random() : seed)) : seeds;
}

/** Return the seed that is shown; undefined if the next one is random. */
export function readSeed() {
  return typed();
}

/** Show the seed after a request was queued. */
export function afterRun() {
  $("seed").value = mode() === "random" ? "" : following;
  $("seed-last").disabled = last === null;
}

/** Show a seed and keep it; undefined stands for a random one. */
export function writeSeed(seed) {
  $("seed").value = seed ?? "";
  if (seed === undefined && mode() === "keep") setMode("random");
  if (seed !== undefined && mode() === "random") setMode("keep");
}

function within(seed) {
  return seed > Number.MAX_SAFE_INTEGER ? seed - Number.MAX_SAFE_INTEGER - 1 : seed;
}

function show(seed) {
  writeSeed(seed);
  $("seed").dispatchEvent(new Event("input", { bubbles: true }));
}

$("seed").addEventListener("input", () => {
  if ($("seed").value && mode() === "random") setMode("keep");
  if (!$("seed").value && mode() === "keep" && !$("seed").validity.badInput) setMode("random");
});
$("seed-mode").addEventListener("change", () => {
  if (mode() === "random") $("seed").value = "";
  else if (last !== null && !$("seed").value) $("seed").value = last;
});
$("seed-dice").addEventListener("click", () => show(random()));
$("seed-last").addEventListener("click", () => show(last));
