// The gateway, called in OpenAI's words: `openai/` has them whatever dialect the shared paths speak.
// Addresses are relative, so that the page works below any path of a proxy.

import { events } from "./sse.js";

/** What went wrong, in words for a person; `status` is HTTP's, 0 where there was no answer. */
export class Failure extends Error {
  constructor(message, { status = 0, param = null } = {}) {
    super(message);
    this.status = status;
    this.param = param;
  }
}

/** Return the models, the default model first. */
export async function models(key) {
  return (await (await call("openai/v1/models", { headers: authorization(key) })).json()).data;
}

/** Tell whether the gateway takes a picture to begin with, from its own description. */
export async function takesPictures() {
  const description = await (await call("openapi.json")).json();
  const image = description.components?.schemas?.ImagesRequest?.properties?.image;
  return Boolean(image) && !/not served/.test(image.description ?? "");
}

/** Yield what happens while pictures are made; aborting `signal` cancels them on the server, too. */
export async function* generate(wanted, { key, signal }) {
  const answer = await call("openai/v1/images/generations", {
    method: "POST",
    signal,
    headers: { "content-type": "application/json", "x-tintype-progress": "true", ...authorization(key) },
    body: JSON.stringify({ ...wanted, stream: true, partial_images: 3 }),
  });
  for await (const { event, data } of unbroken(events(answer.body))) {
    if (data === "[DONE]") return;
    const told = JSON.parse(data);
    if (event === "error") throw new Failure(told.error.message, told.error);
    yield told;
  }
  throw new Failure(BROKEN);
}

const BROKEN = "The connection broke off before the pictures were ready.";

async function* unbroken(items) {
  try {
    yield* items;
  } catch (error) {
    throw error.name === "AbortError" ? error : new Failure(BROKEN);
  }
}

/** Return an answer that is one; throw a Failure for all others. */
async function call(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "omit", cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The server can't be reached. Is it running?");
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  const message = told.error?.message ?? `The server answered ${answer.status} and no reason.`;
  throw new Failure(message + retry(answer), { status: answer.status, param: told.error?.param });
}

function retry(answer) {
  const seconds = Number(answer.headers.get("retry-after"));
  return seconds > 0 ? ` It may work in ${seconds} s.` : "";
}

function authorization(key) {
  return key ? { authorization: `Bearer ${key}` } : {};
}
