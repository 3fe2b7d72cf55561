// Settings in image files: of tintype and AUTOMATIC1111's web UI (`parameters`), ComfyUI (a graph of nodes) and
// InvokeAI (`invokeai_metadata`). They are read as they are; form/adopt.js finds what this server has of them.

import { readPrompt, readWorkflow } from "./comfy.js";
import { readTexts } from "./containers.js";

const TYPES = /^image\/(png|jpeg|webp)$/;
const NEGATIVE = "Negative prompt: ";
const LONGEST_LINE = 65_536; // characters; a longer line is not one of settings
const SETTING = /([^:,]+):\s*("(?:[^"\\]|\\.)*"|[^,]*)(?:,|$)/y;
// Our name of each setting of the web UI, and what its text means.
const SETTINGS = {
  Steps: ["steps", Number],
  Sampler: ["sampler", String],
  "Schedule type": ["schedule", String],
  "CFG scale": ["guidance_scale", Number],
  "Distilled CFG Scale": ["guidance_scale", Number],
  Seed: ["seed", Number],
  Size: ["size", String],
  Model: ["model", String],
  "Denoising strength": ["strength", Number],
  "Clip skip": ["clip_layer", Number],
};

/** Return the settings of an image file as a request; null if it has none. No pixel of it is decoded. */
export async function readSettings(file) {
  if (!TYPES.test(file.type)) return null;
  const texts = await readTexts(file).catch(() => ({}));
  const read = (key, parse) => (typeof texts[key] === "string" ? parse(texts[key]) : null);
  return read("parameters", readInfotext) ?? read("prompt", readPrompt) ?? read("workflow", readWorkflow) ?? read("invokeai_metadata", readInvoke);
}

/** Return the settings of a text as the web UI writes it; null if no line is one of settings. Lines below it are skipped. */
export function readInfotext(text) {
  const all = text.trim().split("\n");
  const last = all.findLastIndex((one) => /^Steps: \d/.test(one));
  const line = all[last] ?? "";
  if (last < 0 || line.length > LONGEST_LINE) return null;
  const lines = all.slice(0, last);
  const at = lines.findIndex((one) => one.startsWith(NEGATIVE));
  const request = { prompt: (at < 0 ? lines : lines.slice(0, at)).join("\n").trim() };
  if (at >= 0) request.negative_prompt = lines.slice(at).join("\n").slice(NEGATIVE.length).trim();
  for (const [name, value] of settingsOf(line)) {
    const [field, type] = SETTINGS[name] ?? [];
    if (field && value) request[field] = type(value);
  }
  return request;
}

/** Yield names and values of a line of settings; what has no name is skipped. Each match begins where the last one ended. */
function* settingsOf(line) {
  for (let at = 0; at < line.length; ) {
    SETTING.lastIndex = at;
    const match = SETTING.exec(line);
    if (match) yield [match[1].trim(), unquote(match[2].trim())];
    const comma = line.indexOf(",", at);
    at = match ? SETTING.lastIndex : comma < 0 ? line.length : comma + 1;
  }
}

function unquote(value) {
  if (!value.startsWith('"')) return value;
  try {
    return String(JSON.parse(value));
  } catch {
    return value;
  }
}

/** Return the settings of InvokeAI's metadata; null if they are none. */
function readInvoke(json) {
  let found;
  try {
    found = JSON.parse(json);
  } catch {
    return null;
  }
  if (typeof found?.positive_prompt !== "string") return null;
  const { positive_prompt: prompt, negative_prompt, width, height, cfg_scale, scheduler, steps, seed, model, loras } = found;
  const [, sampler, karras] = /^(.*?)(_k)?$/.exec(typeof scheduler === "string" ? scheduler : "");
  const request = {
    prompt,
    negative_prompt: negative_prompt || undefined,
    size: width && height ? `${width}x${height}` : undefined,
    guidance_scale: cfg_scale,
    sampler: sampler.replace(/_a$/, "_ancestral") || undefined,
    schedule: karras ? "karras" : undefined,
    steps,
    seed,
    model: model?.name,
    loras: Array.isArray(loras) ? loras.map((one) => ({ name: (one?.model ?? one?.lora)?.name, weight: one?.weight })) : undefined,
  };
  return Object.fromEntries(Object.entries(request).filter(([, value]) => value !== undefined && value !== null));
}
