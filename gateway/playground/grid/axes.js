// The settings that a grid can vary, and their values as text: "20, 30", "1-10 (+3)", "1..10", "1-10 [4]".

export const MAX_CELLS = 64;
const RANGE = /^(-?\d+(?:\.\d+)?)\s*(?:\.\.|-)\s*(-?\d+(?:\.\d+)?)\s*(?:\(\s*([+-]?\d+(?:\.\d+)?)\s*\)|\[\s*(\d+)\s*\])?$/;
const MAX_VALUE = 2 ** 53 - 1; // integers that are exact
const DIGITS = 6; // of numbers in a range, behind the point

/**
 * Return the axes for a model, by key: {label, kind, names, labels, min, max, hint}. `kind` is "integer", "number",
 * "choice", "size" or "replace". `models` is the list of the server, `model` the selected one.
 */
export function axesOf(model, models) {
  const { steps, cfg, sampler, schedule, quality, style } = model?.parameters ?? {};
  const choice = (label, parameter) => ({ label, kind: "choice", names: (parameter?.enum ?? []).filter(Boolean), labels: parameter?.labels ?? {} });
  const axes = {
    steps: { label: "Steps", kind: "integer", min: steps?.min ?? 1, max: steps?.max ?? 150, hint: "10, 20, 30 or 10-50 (+10)" },
    guidance_scale: { label: "Guidance", kind: "number", min: cfg?.min ?? 0, max: cfg?.max ?? 50, hint: "3, 5, 7.5 or 2-8 [4]" },
    seed: { label: "Seed", kind: "integer", min: 0, max: MAX_VALUE, hint: "1..4" },
    prompt: { label: "Prompt: search and replace", kind: "replace", hint: "words of the prompt first: red, blue, green" },
    sampler: choice("Sampler", sampler),
    schedule: choice("Schedule", schedule),
    strength: { label: "Strength", kind: "number", min: 0, max: 1, hint: "0.3, 0.5, 0.7", unless: model?.capabilities?.image_to_image === false },
    size: { label: "Size", kind: "size", hint: "512x512, 512x768" },
    quality: choice("Quality", quality),
    style: choice("Style", style),
    model: { label: "Model", kind: "choice", names: models.map(({ id }) => id), labels: {} },
  };
  for (const name of model?.capabilities?.loras ?? []) axes[`lora:${name}`] = { label: `Weight of LoRA ${name}`, kind: "number", min: -4, max: 4, hint: "0-1 (+0.25)" };
  const usable = Object.entries(axes).filter(([key, { kind, names, unless }]) => !unless && (kind !== "choice" || names.length > (key === "model" ? 1 : 0)));
  return Object.fromEntries(usable);
}

/** Return the values that a text gives for an axis. Throws an Error that names the value and what would be right. */
export function parseValues(text, axis, prompt) {
  const parts = split(text);
  if (!parts.length) throw new Error(`${axis.label}: enter values, such as ${axis.hint ?? axis.names.slice(0, 2).join(", ")}.`);
  const values = parts.flatMap((part) => READERS[axis.kind](part, axis));
  if (axis.kind === "replace" && !prompt.includes(values[0])) throw new Error(`${axis.label}: the prompt has no “${values[0]}”. The first value is what the others replace.`);
  if (new Set(values).size < values.length) throw new Error(`${axis.label}: a value is there twice.`);
  if (values.length > MAX_CELLS) throw new Error(`${axis.label}: a grid has at most ${MAX_CELLS} images.`);
  return values;
}

/** Return a request with one value of an axis. `values` are all values of it: the first one is searched in the prompt. */
export function applyValue(request, key, value, values) {
  if (key === "prompt") return { ...request, prompt: request.prompt.replaceAll(values[0], value) };
  if (!key.startsWith("lora:")) return { ...request, [key]: value };
  const name = key.slice("lora:".length);
  const others = (request.loras ?? []).filter((lora) => lora.name !== name);
  return { ...request, loras: [...others, { name, weight: value }] };
}

/** Split at commas, but not inside double quotes. */
function split(text) {
  const parts = [...text.matchAll(/\s*(?:"([^"]*)"|([^,"]*))\s*(?:,|$)/g)].map(([, quoted, plain]) => quoted ?? plain.trim());
  return parts.filter(Boolean);
}

const READERS = {
  replace: (part) => [part],
  size(part, { label }) {
    const sides = part.match(/^(\d{2,4})\s*[x×*]\s*(\d{2,4})$/i);
    if (!sides) throw new Error(`${label}: “${part}” is not a size, such as 512x768.`);
    return [`${Number(sides[1])}x${Number(sides[2])}`];
  },
  choice(part, { label, names, labels }) {
    const same = (one) => one.toLowerCase() === part.toLowerCase();
    const found = names.find((name) => same(name) || same(labels[name] ?? ""));
    if (!found) throw new Error(`${label}: there is no “${part}”. Choose among ${names.map((name) => labels[name] ?? name).join(", ")}.`);
    return [found];
  },
  number: readNumbers,
  integer: readNumbers,
};

function readNumbers(part, axis) {
  const range = part.match(RANGE);
  const values = range ? spread(range.slice(1), axis) : [Number(part)];
  for (const value of values) check(value, part, axis);
  return values;
}

/** Return the numbers of a range: from, to, step or count. */
function spread([from, to, step, count], { label, kind }) {
  const [first, last] = [Number(from), Number(to)];
  if (count !== undefined && Number(count) > MAX_CELLS) throw new Error(`${label}: a grid has at most ${MAX_CELLS} images.`);
  const distance = count === undefined ? Math.abs(Number(step ?? 1)) : Math.abs(last - first) / Math.max(1, Number(count) - 1);
  if (!distance && first !== last) throw new Error(`${label}: the step of a range must not be 0.`);
  const size = count === undefined ? (distance ? Math.floor(Math.abs(last - first) / distance + 1e-9) + 1 : 1) : Number(count);
  if (size > MAX_CELLS) throw new Error(`${label}: ${size} values are too many; a grid has at most ${MAX_CELLS} images.`);
  const sign = last < first ? -1 : 1;
  return Array.from({ length: size }, (_, index) => {
    const value = first + sign * index * distance;
    return kind === "integer" ? Math.round(value) : Number(value.toFixed(DIGITS));
  });
}

function check(value, part, { label, kind, min, max }) {
  const right = kind === "integer" ? Number.isInteger(value) : Number.isFinite(value);
  if (!right) throw new Error(`${label}: “${part}” is not ${kind === "integer" ? "a whole number" : "a number"}.`);
  if (value < min || value > max) throw new Error(`${label}: ${value} is not from ${min} to ${max}.`);
}
