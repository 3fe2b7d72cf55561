// The request of one image as a command and as a program. Pure functions from a request to text.
// They call paths below `openai/`, as the page does: the shared paths may have the JSON of a vendor with other defaults.

const PLACEHOLDER = "data:image/png;base64,PUT_YOUR_IMAGE_HERE";
// Arguments of OpenAI's SDK; other fields go into `extra_body`.
const KNOWN = new Set(["prompt", "model", "size", "n", "quality", "style", "response_format"]);

/** Return a curl command; `base` ends before `/openai`. */
export function curl(base, request, needsKey) {
  return [
    `curl ${base}/openai/v1/images/generations`,
    ...(needsKey ? [`-H "Authorization: Bearer $TINTYPE_KEY"`] : []),
    `-H 'Content-Type: application/json'`,
    `-d ${quoteForShell(JSON.stringify(withoutImageBytes(request), null, 2))}`,
  ].join(" \\\n  ");
}

/** Return a program for OpenAI's SDK. */
export function python(base, request, needsKey) {
  const all = { ...withoutImageBytes(request), response_format: "b64_json" };
  const own = Object.entries(all).filter(([key]) => KNOWN.has(key));
  const extra = Object.fromEntries(Object.entries(all).filter(([key]) => !KNOWN.has(key)));
  return `import base64
${needsKey ? "import os\n" : ""}from pathlib import Path

from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(`${base}/openai/v1`)}, api_key=${needsKey ? 'os.environ["TINTYPE_KEY"]' : '"none"'})
answer = client.images.generate(
${own.map(([key, value]) => `    ${key}=${literal(value)},`).join("\n")}
    extra_body=${literal(extra)},
)
Path("image.png").write_bytes(base64.b64decode(answer.data[0].b64_json))
`;
}

/** Return a value as Python writes it: as in JSON, but for true and false. */
function literal(value) {
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  return `{${Object.entries(value).map(([key, one]) => `${JSON.stringify(key)}: ${literal(one)}`).join(", ")}}`;
}

/** Return a request with placeholders for the bytes of its images. */
function withoutImageBytes(request) {
  const { upscaled: _, ...short } = request; // what was done afterwards is no field of a request
  if (request.image) short.image = PLACEHOLDER;
  if (request.mask) short.mask = PLACEHOLDER;
  if (request.images) short.images = request.images.map(() => PLACEHOLDER);
  for (const kind of ["controls", "image_prompts"]) {
    if (request[kind]) short[kind] = request[kind].map((one) => ({ ...one, image: PLACEHOLDER }));
  }
  return short;
}

function quoteForShell(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
