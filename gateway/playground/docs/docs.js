// The API's documentation, rendered in the browser from openapi.json and the examples, so that it describes this server.

import { copy } from "../shared/clipboard.js";
import { fields, parseExactly } from "./schema.js";

const $ = (id) => document.getElementById(id);
const BASE = new URL(".", location.href).href.replace(/\/$/, "");
const OTHERS = "more";
const TITLES = { sdapi: "Stable Diffusion web UI", [OTHERS]: "Models, files, more" };
const SHARED = "/v1/images/generations";

/** Return an element with properties and children; children may be strings. */
function h(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

async function load(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path} can't be loaded: the server answered ${response.status}.`);
  return parseExactly(await response.text());
}

async function render() {
  const [description, examples] = await Promise.all([load("openapi.json"), load("playground/examples.json")]);
  const groups = groupByTag(description.paths);
  $("base").textContent = BASE;
  $("sharing").append("Each vendor has its own paths, and the same paths below its name. ", h("code", {}, SHARED),
    ` has ${examples[sharedDialect(description)]?.title ?? "OpenAI"}'s JSON on this server.`);
  const titled = [...groups].map(([tag, operations]) => [tag, examples[tag]?.title ?? TITLES[tag] ?? tag, operations]);
  for (const [tag, title, operations] of titled) {
    $("contents").append(h("a", { href: `#${tag}` }, title));
    $("article").append(...section(tag, title, examples[tag], operations, description));
  }
  $("article").removeAttribute("aria-busy");
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

/** Return the operations by tag, in the description's order; those without a tag come last. */
function groupByTag(paths) {
  const groups = new Map();
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] ?? OTHERS;
      groups.set(tag, [...(groups.get(tag) ?? []), { path, method, operation }]);
    }
  }
  const others = groups.get(OTHERS);
  groups.delete(OTHERS);
  return others ? groups.set(OTHERS, others) : groups;
}

function sharedDialect(description) {
  return description.paths[SHARED]?.post.tags?.[0];
}

function section(tag, title, example, operations, description) {
  return [
    h("h2", { id: tag }, title),
    ...(example ? [h("p", {}, example.about), ...exampleBlock("curl", curl(example)), ...exampleBlock("Python", python(example))] : []),
    ...groupByOperation(operations).flatMap((same) => [
      h("h3", {}, same[0].operation.summary ?? "Call"),
      h("ul", { className: "paths" }, ...same.map(pathItem)),
      ...bodyTables(same[0].operation, description),
    ]),
  ];
}

/** Return the operations of a tag in groups that differ only in their path. */
function groupByOperation(operations) {
  const same = new Map();
  for (const one of operations) {
    const key = JSON.stringify([one.operation.summary, one.operation.requestBody]);
    same.set(key, [...(same.get(key) ?? []), one]);
  }
  return [...same.values()];
}

function pathItem({ method, path }) {
  return h("li", {}, h("span", { className: "method" }, method.toUpperCase()), h("code", {}, path));
}

/** Return tables of the request and the responses, the request's open; statuses with the same body share a table. */
function bodyTables(operation, description) {
  const sent = Object.entries(operation.requestBody?.content ?? {}).map(([type, { schema }]) => [`Request (${type})`, schema]);
  return [...sent, ...responseSchemas(operation.responses ?? {})]
    .map(([title, schema]) => [title, fields(schema, description)])
    .filter(([, rows]) => rows.length)
    .map(([title, rows], index) => h("details", { className: "fields", open: index === 0 && sent.length > 0 },
      h("summary", {}, title), h("div", { className: "scroll" }, table(rows))));
}

/** Return title and schema of each response body. */
function responseSchemas(responses) {
  const byBody = new Map();
  for (const [status, { content }] of Object.entries(responses)) {
    for (const [type, { schema }] of Object.entries(content ?? {})) {
      const key = JSON.stringify([type, schema]);
      const { statuses = [] } = byBody.get(key) ?? {};
      byBody.set(key, { type, schema, statuses: [...statuses, status] });
    }
  }
  return [...byBody.values()].map(({ type, schema, statuses }) =>
    [`${Number(statuses[0]) >= 400 ? "Errors " : ""}${statuses.join(", ")} (${type})`, schema]);
}

function table(rows) {
  const head = h("tr", {}, ...["Field", "Type", "Meaning"].map((text) => h("th", { scope: "col" }, text)));
  const body = rows.map(({ name, type, required, meaning }) =>
    h("tr", {},
      h("td", {}, h("code", {}, name), ...(required ? [h("span", { className: "required" }, "required")] : [])),
      h("td", {}, type),
      h("td", {}, meaning)));
  return h("table", {}, h("thead", {}, head), h("tbody", {}, ...body));
}

function curl({ path, body }) {
  const json = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  return `curl ${BASE}${path} \\\n  -H 'Content-Type: application/json' \\\n  -d '${json}'`;
}

function python({ python }) {
  return python.join("\n").replaceAll("{base}", BASE);
}

function exampleBlock(title, text) {
  const button = h("button", { type: "button" }, "Copy");
  button.setAttribute("aria-label", `Copy the example in ${title}`);
  button.addEventListener("click", () => copy(text, (message) => (button.textContent = message)));
  const code = h("pre", { tabIndex: 0 }, text);
  return [h("div", { className: "example" }, h("h3", {}, title), button, code)];
}

render().catch((error) => ($("error").textContent = error.message));
