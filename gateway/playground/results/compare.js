// Two images next to each other, or one over the other with a slider, and the settings in which they differ.

import { load } from "../history/collection.js";
import { facts } from "./facts.js";

const $ = (id) => document.getElementById(id);

let pair = []; // the records, the left one first

/** Compare two images by their ids. */
export async function compare(first, second) {
  const records = await Promise.all([load(first), load(second)]);
  if (records.some((record) => !record)) return; // deleted meanwhile
  pair = records;
  show();
  setMode("slider");
  $("compare-split").value = 50;
  slide();
  $("compare").showModal();
}

function show() {
  for (const [index, side] of ["left", "right"].entries()) {
    const { url, request } = pair[index];
    Object.assign($(`compare-${side}`), { src: url, alt: `${index ? "Right" : "Left"}: ${request.prompt}, seed ${request.seed}` });
  }
  const { width, height } = pair[0];
  $("compare-frame").style.setProperty("--ratio", width / height);
  $("compare-settings").replaceChildren(...rows());
}

/** Return the rows of the table: the prompt, and each setting that one of the two has. */
function rows() {
  const [left, right] = pair.map(({ request }) => new Map([["prompt", ["prompt", request.prompt]], ...facts(request).map(([key, label, text]) => [key, [label, text]])]));
  return [...new Set([...left.keys(), ...right.keys()])].map((key) => {
    const values = [left.get(key)?.[1] ?? "–", right.get(key)?.[1] ?? "–"];
    const row = document.createElement("tr");
    row.classList.toggle("differs", values[0] !== values[1]);
    const name = Object.assign(document.createElement("th"), { scope: "row", textContent: (left.get(key) ?? right.get(key))[0] });
    if (values[0] !== values[1]) name.append(Object.assign(document.createElement("span"), { className: "hidden-text", textContent: " (differs)" }));
    row.append(name, ...values.map((textContent) => Object.assign(document.createElement("td"), { textContent })));
    return row;
  });
}

function slide() {
  $("compare-frame").style.setProperty("--split", `${$("compare-split").value}%`);
}

function setMode(mode) {
  $("compare-frame").dataset.mode = mode;
  $("compare-split").hidden = mode !== "slider";
  for (const name of ["slider", "sides"]) $(`compare-${name}`).setAttribute("aria-pressed", String(name === mode));
}

$("compare-split").addEventListener("input", slide);
for (const mode of ["slider", "sides"]) $(`compare-${mode}`).addEventListener("click", () => setMode(mode));
$("compare-swap").addEventListener("click", () => {
  pair.reverse();
  show();
});
$("compare-close").addEventListener("click", () => $("compare").close());
$("compare").addEventListener("close", () => {
  for (const record of pair) record.release();
  pair = [];
});
