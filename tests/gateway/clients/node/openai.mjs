// OpenAI's SDK for JavaScript: node openai.mjs URL SCENARIO FILE; prints what came back, as JSON.
import { createReadStream } from "node:fs";
import OpenAI from "openai";

const [base, scenario, file] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "none", timeout: 120_000 });
const quick = { prompt: "a lake", size: "64x64", steps: 2, seed: 7 };

async function events(stream) {
  const told = [];
  for await (const event of stream) told.push(event);
  return told;
}

const scenarios = {
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
