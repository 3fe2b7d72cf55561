// The session's pictures: one is shown large, with what made it; all of them are listed.

import { copy } from "./clipboard.js";
import { shape } from "./making.js";
import { curl, python } from "./snippets.js";

const $ = (id) => document.getElementById(id);
const LABELS = { model: "model", size: "size", quality: "quality", style: "style", sampler: "sampler", schedule: "schedule", steps: "steps", guidance_scale: "guidance", seed: "seed",
  negative_prompt: "without", strength: "strength" };

let shown = null;

/** A picture: `url` and `type` of its bytes, and `wanted`, the request that makes this one again. */
export function add(picture) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(image(picture));
  button.addEventListener("click", () => show(picture));
  const item = document.createElement("li");
  item.append(button);
  picture.button = button;
  $("pictures").prepend(item);
  $("gallery").hidden = false;
}

/** Show one picture large. */
export function show(picture) {
  shown?.button.removeAttribute("aria-current");
  picture.button.setAttribute("aria-current", "true");
  shown = picture;
  $("shown-image").src = picture.url;
  $("shown-image").alt = picture.wanted.prompt;
  $("shown-link").href = $("download").href = picture.url;
  $("download").download = `tintype-${picture.wanted.seed}.${picture.type.replace("image/", "")}`;
  $("shown-prompt").textContent = picture.wanted.prompt;
  $("shown-settings").replaceChildren(...facts(picture.wanted));
  $("shown").hidden = false;
  $("empty").hidden = true;
}

/** Hide the large picture, while others are made. */
export function hide() {
  $("shown").hidden = $("empty").hidden = true;
}

/** Come back to the large picture that was there before, if any. */
export function back() {
  $("shown").hidden = !shown;
  $("empty").hidden = Boolean(shown);
}

$("shown-image").addEventListener("load", ({ target }) => shape($("shown"), target.naturalWidth, target.naturalHeight));

/** Let the buttons below the picture work; `keyed` tells whether requests need a key. */
export function open({ reuse, vary, told, keyed }) {
  const base = () => new URL(".", location.href).href.replace(/\/$/, "");
  $("reuse").addEventListener("click", () => reuse(shown.wanted));
  $("vary").addEventListener("click", () => vary(shown));
  $("curl").addEventListener("click", () => copy(curl(base(), shown.wanted, keyed()), told));
  $("python").addEventListener("click", () => copy(python(base(), shown.wanted, keyed()), told));
}

function image({ url, wanted }) {
  return Object.assign(new Image(), { src: url, alt: `${wanted.prompt}, seed ${wanted.seed}` });
}

function facts(wanted) {
  return Object.entries(LABELS)
    .filter(([key]) => wanted[key] !== undefined)
    .map(([key, label]) => {
      const pair = document.createElement("div");
      for (const [tag, text] of [["dt", label], ["dd", wanted[key]]]) {
        pair.append(Object.assign(document.createElement(tag), { textContent: text }));
      }
      return pair;
    });
}
