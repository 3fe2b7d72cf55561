// JSON Schema as text: the fields of a type, one row each.

const MAX_DEPTH = 3;
const PARTS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** Return the value of JSON text; integers that a number would round become strings. */
export function parseExactly(text) {
  return JSON.parse(text.replace(PARTS, (part) => (/^-?\d{16,}$/.test(part) ? `"${part}"` : part)));
}

/** Return rows {name, type, required, meaning} of an object's fields, each followed by those of nested objects. */
export function fields(schema, description, prefix = "", depth = 0) {
  const own = resolve(schema, description);
  if (own.type === "array") return fields(own.items, description, `${prefix}[].`, depth);
  return Object.entries(own.properties ?? {}).flatMap(([key, value]) => {
    const options = alternatives(value, description);
    const name = `${prefix}${key}`;
    const row = {
      name,
      type: options.map((one) => typeName(one, description)).join(" or "),
      required: depth === 0 && (own.required ?? []).includes(key),
      meaning: describe(value, options),
    };
    return [row, ...nestedFields(options, description, name, depth)];
  });
}

function nestedFields(options, description, name, depth) {
  if (depth >= MAX_DEPTH) return [];
  return options.flatMap((one) => {
    const inner = one.type === "array" ? resolve(one.items ?? {}, description) : one;
    return inner.properties ? fields(inner, description, `${name}${one.type === "array" ? "[]" : ""}.`, depth + 1) : [];
  });
}

/** Return the alternatives of a value without null: a field that is null counts as absent. */
function alternatives(schema, description) {
  const any = schema.anyOf ?? schema.oneOf ?? [schema];
  return any.map((one) => resolve(one, description)).filter(({ type }) => type !== "null");
}

function resolve(schema, description) {
  if (!schema?.$ref) return schema ?? {};
  return schema.$ref.split("/").slice(1).reduce((at, key) => at[key], description);
}

function typeName(schema, description) {
  if (schema.enum) return schema.enum.map(String).join(", ");
  if (schema.const !== undefined) return String(schema.const);
  if (schema.type === "array") return `list of ${typeName(resolve(schema.items ?? {}, description), description)}`;
  return [schema.type ?? "any", limits(schema)].filter(Boolean).join(" ");
}

function limits({ minimum, maximum }) {
  if (minimum === undefined && maximum === undefined) return "";
  return `${minimum ?? "…"} to ${maximum ?? "…"}`;
}

function describe(schema, options) {
  const text = schema.description ?? options.map((one) => (one.properties ? "" : one.description)).find(Boolean) ?? "";
  const example = (schema.examples ?? options.flatMap((one) => one.examples ?? []))[0];
  const more = example === undefined || text.includes(example) ? "" : `For example ${JSON.stringify(example)}.`;
  return [text && `${text}.`, more].join(" ").replace("..", ".");
}
