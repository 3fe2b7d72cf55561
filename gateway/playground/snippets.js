// One picture's request as a command and as a program. Pure: text in, text out.
// Below `openai/`, as the page itself asks: the shared paths may speak a vendor's JSON that has other defaults.

const PICTURE = "data:image/png;base64,PUT_YOUR_PICTURE_HERE";
// What OpenAI's SDK knows by name; all else goes through `extra_body`.
const KNOWN = new Set(["prompt", "model", "size", "n", "quality", "style", "response_format"]);

/** Return a curl command; `base` ends before `/openai`. */
export function curl(base, wanted, keyed) {
  return [
    `curl ${base}/openai/v1/images/generations`,
    ...(keyed ? [`-H "Authorization: Bearer $TINTYPE_KEY"`] : []),
    `-H 'Content-Type: application/json'`,
    `-d ${shellQuoted(JSON.stringify(plain(wanted), null, 2))}`,
  ].join(" \\\n  ");
}

/** Return a program for OpenAI's SDK. */
export function python(base, wanted, keyed) {
  const all = { ...plain(wanted), response_format: "b64_json" };
  const own = Object.entries(all).filter(([key]) => KNOWN.has(key));
  const extra = Object.fromEntries(Object.entries(all).filter(([key]) => !KNOWN.has(key)));
  return `import base64
${keyed ? "import os\n" : ""}from pathlib import Path

from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(`${base}/openai/v1`)}, api_key=${keyed ? 'os.environ["TINTYPE_KEY"]' : '"none"'})
answer = client.images.generate(
${own.map(([key, value]) => `    ${key}=${JSON.stringify(value)},`).join("\n")}
    extra_body=${JSON.stringify(extra)},
)
Path("picture.png").write_bytes(base64.b64decode(answer.data[0].b64_json))
`;
}

/** Return a request without the bytes of a picture: nobody wants them in a terminal. */
function plain(wanted) {
  return wanted.image ? { ...wanted, image: PICTURE } : wanted;
}

function shellQuoted(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
