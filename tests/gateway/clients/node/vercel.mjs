// Vercel's AI SDK with its two providers: node vercel.mjs URL SCENARIO FILE; prints what came back, as JSON.
import { readFileSync } from "node:fs";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateImage } from "ai";

globalThis.AI_SDK_LOG_WARNINGS = false;
const [base, scenario, file] = process.argv.slice(2);
const compatible = createOpenAICompatible({ name: "tintype", baseURL: `${base}/v1`, apiKey: "none" });
const openai = createOpenAI({ baseURL: `${base}/v1`, apiKey: "none" });
const quick = { prompt: "a lake", size: "64x64", providerOptions: { tintype: { steps: 2, seed: 7 } } };

const scenarios = {
  compatible: () => generateImage({ ...quick, model: compatible.imageModel("dall-e-3"), n: 2 }),
  openai: () =>
    generateImage({ ...quick, model: openai.image("gpt-image-1"), providerOptions: { openai: { quality: "low" } } }),
  dalle: () => generateImage({ ...quick, model: openai.image("dall-e-3") }),
  edit: () =>
    generateImage({
      model: compatible.imageModel("dall-e-3"),
      prompt: { text: "a boat", images: [readFileSync(file)] },
      size: "128x64",
    }),
  unknown: () => generateImage({ ...quick, model: compatible.imageModel("nope") }),
};

try {
  const { images, usage } = await scenarios[scenario]();
  console.log(JSON.stringify({ images: images.map((image) => image.base64), usage }));
} catch (error) {
  console.log(JSON.stringify({ error: error.name, status: error.statusCode, message: error.message }));
}
