// The API's documentation, rendered in the browser from openapi.json and the examples, so that it describes this server.

import { copy } from "../shared/clipboard.js";
import { fields, parseExactly } from "./schema.js";
import * as search from "./search.js";

const $ = (id) => document.getElementById(id);
const BASE = new URL(".", location.href).href.replace(/\/$/, "");
const OTHERS = "more";
const TITLES = { jobs: "Jobs", sdapi: "Stable Diffusion web UI", [OTHERS]: "Models, files, more" };
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
    const same = groupByOperation(operations);
    $("groups").append(indexOf(tag, title, same));
    $("article").append(section(tag, title, examples[tag], same, description));
  }
  $("article").removeAttribute("aria-busy");
  search.open();
  showTarget();
}

/** Show what the address names. */
function showTarget() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target) target.scrollIntoView();
}

/** Return the part of the index for a group: a link to it, and one to each of its routes. */
function indexOf(tag, title, operations) {
  const links = operations.map(([first]) => h("li", {}, h("a", { href: `#${anchorOf(first)}` }, summaryOf(first))));
  const all = h("li", {}, h("a", { href: `#${tag}` }, "Overview"));
  const element = h("details", { className: "group" }, h("summary", {}, title), h("ul", {}, all, ...links));
  element.dataset.group = tag;
  return element;
}

/** Return the stable name of a route in addresses, such as `post-v1-images-generations`. */
function anchorOf({ method, path }) {
  return `${method}${path}`.replace(/[^A-Za-z0-9]+/g, "-").replace(/-$/, "").toLowerCase();
}

function summaryOf({ operation }) {
  return operation.summary ?? "Call";
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
  return h("section", { className: "group" },
    h("h2", { id: tag }, title),
    ...(example ? [h("div", { className: "examples" }, h("p", {}, example.about), ...exampleBlock("curl", curl(example)), ...exampleBlock("Python", python(example)))] : []),
    ...operations.map((same) => h("section", { className: "operation" },
      h("h3", {}, summaryOf(same[0])),
      ...(same[0].operation.description ? [h("p", {}, same[0].operation.description)] : []),
      h("ul", { className: "paths" }, ...same.map(pathItem)),
      ...bodyTables(same[0].operation, description))));
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

/** Return a route, with a link to it that is also copied. */
function pathItem(one) {
  const { method, path } = one;
  const id = anchorOf(one);
  const link = h("a", { className: "anchor", href: `#${id}` }, "#");
  link.setAttribute("aria-label", `Copy a link to ${method.toUpperCase()} ${path}`);
  link.addEventListener("click", () => copy(`${location.href.split("#")[0]}#${id}`, (text) => (link.title = text)));
  return h("li", { id }, h("span", { className: "method" }, method.toUpperCase()), h("code", {}, path), link);
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

/** Return a table with its roles, which the narrow layout would take away. */
function table(rows) {
  const row = (...cells) => withRole("row", h("tr", {}, ...cells));
  const cell = (...content) => withRole("cell", h("td", {}, ...content));
  const head = row(...["Field", "Type", "Meaning"].map((text) => withRole("columnheader", h("th", { scope: "col" }, text))));
  const body = rows.map(({ name, type, required, meaning }) =>
    row(cell(h("code", {}, name), ...(required ? [h("span", { className: "required" }, "required")] : [])), cell(type), cell(meaning)));
  const [first, second] = [h("thead", {}, head), h("tbody", {}, ...body)].map((part) => withRole("rowgroup", part));
  return withRole("table", h("table", {}, first, second));
}

function withRole(role, element) {
  element.setAttribute("role", role);
  return element;
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

globalThis.addEventListener("hashchange", showTarget);
render().catch((error) => ($("error").textContent = error.message));
