// The images of this session: one is shown large, with its settings; all are listed.

import { copy } from "../shared/clipboard.js";
import { setRatio } from "./progress.js";
import { curl, python } from "./snippets.js";

const $ = (id) => document.getElementById(id);
const LABELS = { model: "model", size: "size", quality: "quality", style: "style", sampler: "sampler", schedule: "schedule", steps: "steps", guidance_scale: "guidance", seed: "seed",
  negative_prompt: "without", strength: "strength", images: "references", controls: "control", image_prompts: "image prompt", clip_skip: "clip skip" };
const namesOf = (list) => list.map(({ name, weight }) => (weight === undefined ? name : `${name} ${weight}`)).join(", ");
const FORMATS = { images: ({ length }) => length, controls: namesOf, image_prompts: namesOf };

let shown = null;

/** Add an image: `url` and `type` of its bytes, and `request`, the request that makes it again. */
export function add(image) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(thumbnail(image));
  button.addEventListener("click", () => show(image));
  const item = document.createElement("li");
  item.append(button);
  image.button = button;
  $("images").prepend(item);
  $("gallery").hidden = false;
}

/** Show one image large. */
export function show(image) {
  shown?.button.removeAttribute("aria-current");
  image.button.setAttribute("aria-current", "true");
  shown = image;
  $("shown-image").src = image.url;
  $("shown-image").alt = image.request.prompt;
  $("shown-link").href = $("download").href = image.url;
  $("download").download = `tintype-${image.request.seed}.${image.type.replace("image/", "")}`;
  $("shown-prompt").textContent = image.request.prompt;
  $("shown-settings").replaceChildren(...facts(image.request));
  $("shown").hidden = false;
  $("empty").hidden = true;
}

/** Hide the large image while others are made. */
export function hide() {
  $("shown").hidden = $("empty").hidden = true;
}

/** Show the previous large image again, if any. */
export function back() {
  $("shown").hidden = !shown;
  $("empty").hidden = Boolean(shown);
}

$("shown-image").addEventListener("load", ({ target }) => setRatio($("shown"), target.naturalWidth, target.naturalHeight));

/** Connect the buttons below the image; `needsKey` tells whether requests need a key. */
export function open({ reuse, vary, refer, report, needsKey }) {
  const base = () => new URL(".", location.href).href.replace(/\/$/, "");
  $("reuse").addEventListener("click", () => reuse(shown.request));
  $("vary").addEventListener("click", () => vary(shown));
  $("refer").addEventListener("click", () => refer(shown));
  $("curl").addEventListener("click", () => copy(curl(base(), shown.request, needsKey()), report));
  $("python").addEventListener("click", () => copy(python(base(), shown.request, needsKey()), report));
}

function thumbnail({ url, request }) {
  return Object.assign(new Image(), { src: url, alt: `${request.prompt}, seed ${request.seed}` });
}

function facts(request) {
  return Object.entries(LABELS)
    .filter(([key]) => request[key] !== undefined)
    .map(([key, label]) => {
      const pair = document.createElement("div");
      for (const [tag, text] of [["dt", label], ["dd", FORMATS[key]?.(request[key]) ?? request[key]]]) {
        pair.append(Object.assign(document.createElement(tag), { textContent: text }));
      }
      return pair;
    });
}
