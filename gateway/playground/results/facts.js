// The settings of a request in words, as pairs of a list.

import { labelOf } from "../form/settings.js";

const LABELS = {
  model: "model", size: "size", quality: "quality", style: "style", sampler: "sampler", schedule: "schedule", steps: "steps",
  guidance_scale: "guidance", seed: "seed", negative_prompt: "without", strength: "strength", images: "references",
  controls: "control", image_prompts: "image prompt", loras: "LoRA", embeddings: "embeddings", clip_skip: "clip skip",
  mask: "mask", upscaled: "upscaled",
};
const namesOf = (list) => list.map(({ name, weight }) => (weight === undefined ? name : `${name} ${weight}`)).join(", ");
const FORMATS = {
  sampler: (name) => labelOf("sampler", name),
  schedule: (name) => labelOf("schedule", name),
  images: ({ length }) => length,
  controls: namesOf,
  image_prompts: namesOf,
  loras: namesOf,
  embeddings: (names) => names.join(", "),
  mask: () => "painted",
  upscaled: (factor) => `×${factor}`,
};

/** Return [key, label, text] of each setting of a request. */
export function facts(request) {
  return Object.entries(LABELS)
    .filter(([key]) => request[key] !== undefined)
    .map(([key, label]) => [key, label, String(FORMATS[key]?.(request[key]) ?? request[key])]);
}

/** Return the pairs of a `dl` for a request, and for the axes of a grid: {x: {setting, values}, y}. */
export function describe(request, grid = {}) {
  const axes = Object.entries(grid).map(([side, { setting, values }]) => [side, side === "x" ? "columns" : "rows", `${LABELS[setting] ?? setting} ${values.join(", ")}`]);
  return [...facts(request), ...axes].map(([, label, text]) => {
    const pair = document.createElement("div");
    for (const [tag, textContent] of [["dt", label], ["dd", text]]) {
      pair.append(Object.assign(document.createElement(tag), { textContent }));
    }
    return pair;
  });
}
