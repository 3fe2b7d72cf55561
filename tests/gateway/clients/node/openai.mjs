// OpenAI's SDK for JavaScript: node openai.mjs URL SCENARIO FILE MASK; prints what came back, as JSON.
import { createReadStream } from "node:fs";
import OpenAI from "openai";

const [base, scenario, file, mask] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "none", timeout: 120_000 });
const quick = { prompt: "a lake", size: "64x64", steps: 2, seed: 7 };

async function events(stream) {
  const told = [];
  for await (const event of stream) told.push(event);
  return told;
}

// Each call with all that it can have, and in each way in which the SDK gives its answer.
const every = {
  generate: () => ({
    prompt: "a sailing boat", background: "transparent", model: "gpt-image-2", moderation: "low", n: 1,
    output_compression: 100, output_format: "png", partial_images: 1, quality: "medium", response_format: "url",
    size: "auto", stream: false, style: "vivid", user: "me",
  }),
  edit: () => ({
    image: createReadStream(file), mask: createReadStream(mask), prompt: "a sailing boat", background: "transparent",
    input_fidelity: "high", model: "gpt-image-2", n: 1, output_compression: 100, output_format: "png",
    partial_images: 1, quality: "high", response_format: "url", size: "256x256", stream: false, user: "me",
  }),
  createVariation: () => ({
    image: createReadStream(file), model: "gpt-image-1", n: 1, response_format: "url", size: "1024x1024", user: "me",
  }),
};

async function calls() {
  const told = {};
  for (const [name, all] of Object.entries(every)) {
    const asked = client.images[name](all());
    const raw = await asked.asResponse();
    const { data, response } = await asked.withResponse();
    told[name] = { status: raw.status, same: response === raw && data === (await asked), answer: data };
    if (name !== "createVariation") {
      told[`${name} streamed`] = await events(await client.images[name]({ ...all(), stream: true }));
    }
  }
  return told;
}

const scenarios = {
  calls,
  links: () => client.images.generate({ ...quick, n: 2 }),
  base64: () => client.images.generate({ ...quick, model: "gpt-image-1", output_format: "webp", quality: "low" }),
  stream: async () => events(await client.images.generate({ ...quick, steps: 6, stream: true, partial_images: 2 })),
  edit: () => client.images.edit({ image: createReadStream(file), prompt: "a boat", model: "gpt-image-1" }),
  edits: () =>
    client.images.edit({ image: [createReadStream(file), createReadStream(file)], prompt: "a boat", model: "x" }),
  editStream: async () =>
    events(await client.images.edit({ image: createReadStream(file), prompt: "a boat", stream: true })),
  variation: () => client.images.createVariation({ image: createReadStream(file), response_format: "b64_json" }),
  models: async () => ({
    listed: await events(await client.models.list()),
    one: await client.models.retrieve("gpt-image-1"),
  }),
};

try {
  console.log(JSON.stringify(await scenarios[scenario]()));
} catch (error) {
  const { status, code, param, type, requestID } = error;
  console.log(JSON.stringify({ error: error.constructor.name, status, code, param, type, requestID }));
}
