// Calls to the gateway in OpenAI's JSON. Paths below `openai/` have that dialect, whichever the shared paths have.
// URLs are relative, so that the page works below any path of a proxy.

import { events } from "./sse.js";

/** What went wrong; `status` is the HTTP status, 0 without a response; `code` is OpenAI's. */
export class Failure extends Error {
  constructor(message, { status = 0, param = null, code = null } = {}) {
    super(message);
    this.status = status;
    this.param = param;
    this.code = code;
  }
}

/** Return the models, the default model first. */
export async function listModels(key) {
  return (await (await fetchOk("openai/v1/models", { headers: authorization(key) })).json()).data;
}

/** Whether the server enlarges images. */
export async function canUpscale() {
  const { endpoints } = await (await fetchOk("./", { headers: { accept: "application/json" } })).json();
  return Boolean(endpoints.upscales);
}

/** Return an image, a data: URL, enlarged by a factor, as a PNG file. */
export async function upscale(image, factor, key) {
  const response = await fetchOk("v1/images/upscales", {
    method: "POST",
    headers: { "content-type": "application/json", ...authorization(key) },
    body: JSON.stringify({ image, factor, response_format: "b64_json" }),
  });
  const text = atob((await response.json()).data[0].b64_json);
  return new Blob([Uint8Array.from(text, (letter) => letter.charCodeAt(0))], { type: "image/png" });
}

/** Load or unload (`verb`) a model; return it as it is then. */
export async function changeModel(verb, model, key) {
  const response = await fetchOk(`openai/v1/models/${verb}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...authorization(key) },
    body: JSON.stringify({ model }),
  });
  return response.json();
}

/** Yield the events of a generation; aborting `signal` also cancels it on the server. */
export async function* generate(request, { key, signal }) {
  const response = await fetchOk("openai/v1/images/generations", {
    method: "POST",
    signal,
    headers: { "content-type": "application/json", "x-tintype-progress": "true", ...authorization(key) },
    body: JSON.stringify({ ...request, stream: true, partial_images: 3 }),
  });
  for await (const { event, data } of withConnectionErrors(events(response.body))) {
    if (data === "[DONE]") return;
    const body = JSON.parse(data);
    if (event === "error") throw new Failure(body.error.message, body.error);
    yield body;
  }
  throw new Failure(CONNECTION_LOST);
}

const CONNECTION_LOST = "The connection was lost before the images were finished.";

/** Yield the items; throw a Failure if the connection breaks. */
async function* withConnectionErrors(items) {
  try {
    yield* items;
  } catch (error) {
    throw error.name === "AbortError" ? error : new Failure(CONNECTION_LOST);
  }
}

/** Return a response with a 2xx status; throw a Failure for any other. */
async function fetchOk(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { credentials: "omit", cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The server can't be reached. Is it running?");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  const message = body.error?.message ?? `The server answered ${response.status} without a reason.`;
  throw new Failure(message + retryAdvice(response), { status: response.status, param: body.error?.param, code: body.error?.code });
}

function retryAdvice(response) {
  const seconds = Number(response.headers.get("retry-after"));
  return seconds > 0 ? ` Try again in ${seconds} s.` : "";
}

function authorization(key) {
  return key ? { authorization: `Bearer ${key}` } : {};
}
