// Settings in ComfyUI's files: the graph of nodes that made the image, as the API takes it (`prompt`), or as its editor
// saves it (`workflow`). Links are followed from the sampler back to prompts, size, checkpoint and adapters. Every walk
// visits a node once, so that loops and large graphs end.

const NODES = 5000; // of a graph; a larger one is not read
const HOPS = 64; // from a value to where it comes from
// The values of an editor's node, in their order; empty names are not read.
const CONTROL = ""; // what happens to a seed after a run
const WIDGETS = {
  KSampler: ["seed", CONTROL, "steps", "cfg", "sampler_name", "scheduler", "denoise"],
  KSamplerAdvanced: ["", "noise_seed", CONTROL, "steps", "cfg", "sampler_name", "scheduler"],
  CLIPTextEncode: ["text"],
  EmptyLatentImage: ["width", "height"],
  EmptySD3LatentImage: ["width", "height"],
  CheckpointLoaderSimple: ["ckpt_name"],
  UNETLoader: ["unet_name"],
  LoraLoader: ["lora_name", "strength_model"],
  LoraLoaderModelOnly: ["lora_name", "strength_model"],
  FluxGuidance: ["guidance"],
  RandomNoise: ["noise_seed", CONTROL],
  KSamplerSelect: ["sampler_name"],
  BasicScheduler: ["scheduler", "steps", "denoise"],
  CFGGuider: ["cfg"],
  PrimitiveNode: ["value"],
};
const TEXTS = ["text", "text_g", "t5xxl", "text_l", "clip_l", "prompt", "string", "value"];

/** Return the settings of a graph in the API's form; null if it has no sampler. */
export function readPrompt(json) {
  const graph = parse(json);
  if (!graph || typeof graph !== "object" || Array.isArray(graph)) return null;
  const entries = Object.entries(graph).filter(([, node]) => typeof node?.class_type === "string" && node.inputs && typeof node.inputs === "object");
  return entries.length && entries.length <= NODES ? readGraph(new Map(entries)) : null;
}

/** Return the settings of a graph as the editor saves it; null if it has no sampler. */
export function readWorkflow(json) {
  const { nodes, links } = parse(json) ?? {};
  if (!Array.isArray(nodes) || !Array.isArray(links) || nodes.length > NODES || links.length > 4 * NODES) return null;
  const origins = new Map(links.filter(Array.isArray).map(([id, origin, slot]) => [id, [String(origin), slot]]));
  const graph = nodes.filter((node) => node && typeof node.type === "string").map((node) => [String(node.id), fromEditor(node, origins)]);
  return readGraph(new Map(graph));
}

function parse(json) {
  try {
    return JSON.parse(json.replace(/\bNaN\b/g, "null")); // which ComfyUI writes
  } catch {
    return null;
  }
}

/** Return a node of the editor as the API has it. */
function fromEditor({ type, inputs = [], widgets_values: values = [] }, origins) {
  const named = (WIDGETS[type] ?? []).map((name, index) => [name, Array.isArray(values) ? values[index] : values?.[name]]);
  const linked = (Array.isArray(inputs) ? inputs : []).filter((one) => origins.has(one?.link)).map(({ name, link }) => [name, origins.get(link)]);
  return { class_type: type, inputs: Object.fromEntries([...named.filter(([name]) => name), ...linked]) };
}

function readGraph(graph) {
  const found = findSampler(graph);
  if (!found) return null;
  const [id, { inputs }] = found;
  const guider = nodeAt(graph, inputs.guider);
  const wired = { ...inputs, ...guider?.inputs };
  const around = (name, wanted) => walk(graph, [inputs[name], wired[name]], (node) => wanted.some((key) => node.inputs[key] !== undefined));
  const sigmas = around("sigmas", ["scheduler", "steps"])?.inputs ?? {};
  const value = (link) => resolve(graph, link);
  const guidance = walk(graph, [wired.positive ?? wired.conditioning], (node) => node.class_type === "FluxGuidance");
  const size = walk(graph, [inputs.latent_image], (node) => isNumber(value(node.inputs.width)) && isNumber(value(node.inputs.height)))?.inputs;
  const denoise = value(inputs.denoise) ?? value(sigmas.denoise);
  return withoutEmpty({
    prompt: readText(graph, wired.positive ?? wired.conditioning, "positive") ?? "",
    negative_prompt: readText(graph, wired.negative, "negative"),
    steps: value(inputs.steps) ?? value(sigmas.steps),
    guidance_scale: value(guidance?.inputs.guidance) ?? value(wired.cfg),
    seed: value(inputs.seed) ?? value(inputs.noise_seed) ?? value(nodeAt(graph, inputs.noise)?.inputs.noise_seed),
    sampler: value(inputs.sampler_name) ?? value(nodeAt(graph, inputs.sampler)?.inputs.sampler_name),
    schedule: value(inputs.scheduler) ?? value(sigmas.scheduler),
    size: size && `${value(size.width)}x${value(size.height)}`,
    strength: denoise < 1 ? denoise : undefined,
    ...readLoaders(graph, [id, wired.model]),
  });
}

/** Return the entry of the sampler that made the image: the nearest one to an output, or any. */
function findSampler(graph) {
  const isSampler = ({ class_type, inputs }) => /sampler/i.test(class_type) && Array.isArray(inputs.latent_image);
  const outputs = [...graph].filter(([, { class_type }]) => /SaveImage|PreviewImage|Image ?Save/i.test(class_type));
  const found = walk(graph, outputs.map(([id]) => [id, 0]), isSampler);
  return [...graph].find(([, node]) => (found ? node === found : isSampler(node)));
}

/** Return the first node that `wanted` accepts, of those that links lead back to, the nearest first. */
function walk(graph, links, wanted, inputsOf = ({ inputs }) => Object.values(inputs)) {
  const queue = links.filter(Array.isArray);
  const seen = new Set();
  for (let index = 0; index < queue.length && index < 4 * NODES; index += 1) {
    const id = String(queue[index][0]);
    const node = graph.get(id);
    if (!node || seen.has(id)) continue;
    seen.add(id);
    if (wanted(node)) return node;
    queue.push(...inputsOf(node).filter(Array.isArray));
  }
  return undefined;
}

function nodeAt(graph, link) {
  return Array.isArray(link) ? graph.get(String(link[0])) : undefined;
}

/** Return a value of a node: its own, or that of the node which it is linked to. */
function resolve(graph, value, hops = HOPS) {
  if (!Array.isArray(value)) return ["string", "number"].includes(typeof value) ? value : undefined;
  const inputs = nodeAt(graph, value)?.inputs;
  if (!inputs || hops === 0) return undefined;
  const own = ["value", "seed", "noise_seed", "int", "float", ...TEXTS].find((name) => inputs[name] !== undefined);
  return own && resolve(graph, inputs[own], hops - 1);
}

/** Return the text that a conditioning was made of; nodes on the way that have both sides are followed on their own. */
function readText(graph, link, side) {
  const other = side === "positive" ? "negative" : "positive";
  const inputsOf = ({ inputs }) => Object.entries(inputs).filter(([name]) => name !== other).map(([, value]) => value);
  const names = [side, ...TEXTS]; // loaders of several things have both prompts
  const textOf = ({ inputs }) => names.map((name) => resolve(graph, inputs[name])).find((text) => typeof text === "string");
  const isText = (node) => /encode|text|prompt|loader/i.test(node.class_type) && textOf(node) !== undefined;
  const isEmpty = ({ class_type }) => class_type === "ConditioningZeroOut";
  const node = walk(graph, [link], (one) => isText(one) || isEmpty(one), inputsOf);
  return node && !isEmpty(node) ? textOf(node) : undefined;
}

/** Return the model and the adapters that the sampler's model came through. */
function readLoaders(graph, [, link]) {
  const loras = [];
  const loader = walk(
    graph,
    [link],
    ({ inputs }) => {
      if (typeof inputs.lora_name === "string") loras.unshift({ name: inputs.lora_name, weight: weightOf(resolve(graph, inputs.strength_model)) });
      return typeof (inputs.ckpt_name ?? inputs.unet_name ?? inputs.model_name) === "string";
    },
    ({ inputs }) => [inputs.model],
  );
  return { model: loader?.inputs.ckpt_name ?? loader?.inputs.unet_name ?? loader?.inputs.model_name, loras: loras.slice(0, 8) };
}

function weightOf(value) {
  return isNumber(value) ? Math.max(-4, Math.min(4, value)) : 1;
}

function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

function withoutEmpty(settings) {
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined && !(Array.isArray(value) && !value.length)));
}
