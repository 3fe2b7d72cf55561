// A link that carries settings in its fragment, which browsers do not send to servers:
// `#prompt=a+lake&size=512x768&lora=ink:0.8`. It carries no images and no key.

import { IMAGES, NUMBERS, carried, check, short } from "./fields.js";
import { hasWeights } from "./prompt_editing.js";

const LONGEST = 50_000; // characters of a fragment

/** Return the address of this page with the settings of a request. */
export function linkTo(request) {
  const { loras = [], prompt_weighting, ...fields } = carried(request);
  const parameters = new URLSearchParams(Object.entries(fields));
  for (const { name, weight = 1 } of loras) parameters.append("lora", `${name}:${weight}`);
  if ([fields.prompt, fields.negative_prompt].some((text) => text && hasWeights(text))) parameters.append("prompt_weighting", Boolean(prompt_weighting));
  return `${location.href.split("#")[0]}#${parameters}`;
}

/** Return the settings of a fragment: `request`, and a sentence about each that is not valid, `problems`; null if it has none. */
export function readFragment(fragment) {
  const text = fragment.replace(/^#/, "");
  if (!text.includes("=")) return null; // a place of the page
  if (text.length > LONGEST) return { request: {}, problems: [`It is longer than ${LONGEST} characters.`] };
  const found = {};
  const problems = [];
  for (const [name, value] of new URLSearchParams(text)) {
    if (name === "lora") (found.loras ??= []).push(readLora(value));
    else if (Object.hasOwn(found, name)) problems.push(`It has ${short(name)} twice.`);
    else Object.defineProperty(found, name, { value: readValue(name, value), enumerable: true });
  }
  const { request, problems: more } = check(found);
  return { request, problems: [...problems, ...more] };
}

function readLora(text) {
  const colon = text.lastIndexOf(":");
  if (colon < 0) return { name: text };
  const weight = Number(text.slice(colon + 1) || NaN);
  return Number.isNaN(weight) ? { name: text } : { name: text.slice(0, colon), weight };
}

function readValue(name, text) {
  if (name === "prompt_weighting") return text === "true" || (text === "false" ? false : text);
  if (!NUMBERS.includes(name)) return text;
  return text.trim() === "" || Number.isNaN(Number(text)) ? text : Number(text);
}

/** Say what a link to a request leaves out; empty if nothing. */
export function leftOut(request) {
  return IMAGES.some((name) => request[name] !== undefined) ? "A link carries no images: add them again." : "";
}

/** Call `use(settings)` with the settings of the address now, and whenever it changes; they are then removed from it. */
export function open(use) {
  const take = () => {
    const found = readFragment(location.hash);
    if (!found) return;
    history.replaceState(null, "", location.href.split("#")[0]);
    use(found);
  };
  addEventListener("hashchange", take);
  take();
}
