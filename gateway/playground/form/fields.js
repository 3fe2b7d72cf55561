// The settings that a link, a saved preset or a file can carry, with the limits of each. Images and keys are not among
// them. What such a source says is never used before it has been checked here.

const NAME = 256; // characters
const PROMPT = 32_000; // characters
const SEED = Number.MAX_SAFE_INTEGER;
const LORAS = 8;

const text = (limit) => (value) => typeof value === "string" && value.length <= limit;
const number = (least, most) => (value) => typeof value === "number" && value >= least && value <= most;
const whole = (least, most) => (value) => Number.isInteger(value) && value >= least && value <= most;

/** Each setting, its check, and what it must be. */
export const FIELDS = {
  prompt: [text(PROMPT), `a text of at most ${PROMPT} characters`],
  negative_prompt: [text(PROMPT), `a text of at most ${PROMPT} characters`],
  model: [text(NAME), "a name"],
  size: [isSize, "WIDTHxHEIGHT, each 16 to 4096"],
  quality: [text(NAME), "a name"],
  style: [text(NAME), "a name"],
  sampler: [text(NAME), "a name"],
  schedule: [text(NAME), "a name"],
  steps: [whole(1, 150), "a whole number from 1 to 150"],
  guidance_scale: [number(0, 50), "a number from 0 to 50"],
  seed: [whole(0, SEED), `a whole number from 0 to ${SEED}`],
  n: [whole(1, 10), "a whole number from 1 to 10"],
  clip_skip: [whole(0, 11), "a whole number from 0 to 11"],
  clip_layer: [whole(1, 12), "a whole number from 1 to 12"], // as the web UI counts: see adopt.js
  strength: [number(0, 1), "a number from 0 to 1"],
  loras: [isLoras, `at most ${LORAS} names with weights from -4 to 4`],
  prompt_weighting: [(value) => typeof value === "boolean", "true or false"],
};
export const NUMBERS = ["steps", "guidance_scale", "seed", "n", "clip_skip", "strength"];
export const IMAGES = ["image", "mask", "images", "controls", "image_prompts"];

function isSize(value) {
  const sides = /^(\d{2,4})x(\d{2,4})$/.exec(value);
  return Boolean(sides) && sides.slice(1).every((side) => side >= 16 && side <= 4096);
}

function isLoras(value) {
  return Array.isArray(value) && value.length <= LORAS && value.every(isLora);
}

function isLora(value) {
  return text(NAME)(value?.name) && value.name !== "" && number(-4, 4)(value.weight ?? 1);
}

/** Return the valid settings of an object, `request`, and a sentence about each of the others, `problems`. */
export function check(found) {
  const request = {};
  const problems = [];
  for (const [name, value] of Object.entries(found)) {
    const [valid, wanted] = FIELDS[name] ?? [];
    if (valid?.(value)) request[name] = name === "loras" ? value.map(plainLora) : value;
    else if (valid) problems.push(`${name} must be ${wanted}, not ${short(value)}.`);
    else problems.push(`There is no setting ${short(name)}.`);
  }
  return { request, problems };
}

/** Return the settings of a request that can be carried. */
export function carried(request) {
  const { clip_layer, ...fields } = FIELDS;
  return Object.fromEntries(Object.keys(fields).filter((name) => request[name] !== undefined).map((name) => [name, request[name]]));
}

function plainLora({ name, weight = 1 }) {
  return { name, weight };
}

/** Return a value for a message, in quotes and cut off. */
export function short(value) {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
  return `“${text.length > 60 ? `${text.slice(0, 60)}…` : text}”`;
}
