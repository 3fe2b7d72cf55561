// Writing prompts: Ctrl+Up and Ctrl+Down change the weight of words, names are inserted at the cursor, and the field is
// as high as its text.

const STEP = 0.1; // of a weight, for each key press
const STEPS = { ArrowUp: STEP, ArrowDown: -STEP };
const LIMITS = [-4, 10]; // of weights that the keys reach
const SEPARATOR = /[\s,.;:()<>[\]{}|]/;
const WEIGHT = /^:(-?\d{0,3}(?:\.\d{0,4})?)$/;
const PAIRS = { "(": ")", "<": ">" };
const CLOSING = ")>";
const SYNTAX = /[([\\]|\bBREAK\b/; // without any of these the syntax changes nothing

const $ = (id) => document.getElementById(id);

/** Tell whether a prompt has the syntax of weights. */
export function hasWeights(text) {
  return SYNTAX.test(text);
}

/** Return the place of the words to weight, with their weight: a selection, the group around the cursor, or a word. */
export function findWords(text, start, end) {
  const group = findGroup(text, start, end);
  if (group) return group;
  if (start === end) [start, end] = wordAt(text, start);
  return { start, end, inner: text.slice(start, end), open: "(", weight: 1 };
}

/**
 * Return `(words:1.2)` or `<lora:name:1.2>`, if the cursor is in it or if its words are selected; null if it is in none.
 */
function findGroup(text, start, end) {
  if (end - start > 1 && PAIRS[text[start]] === text[end - 1]) [start, end] = [start + 1, end - 1];
  const from = findOpening(text, start);
  const to = from < 0 ? -1 : findClosing(text, end, PAIRS[text[from]]);
  const content = text.slice(from + 1, Math.max(to, from + 1));
  const colon = content.lastIndexOf(":");
  const weight = colon > 0 && WEIGHT.exec(content.slice(colon))?.[1];
  const inner = content.slice(0, colon);
  const selected = text.slice(start, end);
  if (!weight || ![inner, content, ""].includes(selected)) return null;
  return { start: from, end: to + 1, inner, open: text[from], weight: Number(weight) };
}

function findOpening(text, start) {
  for (let at = start - 1, depth = 0; at >= 0; at -= 1) {
    if (CLOSING.includes(text[at])) depth += 1;
    else if (PAIRS[text[at]] && depth-- === 0) return at;
  }
  return -1;
}

function findClosing(text, end, wanted) {
  for (let at = end, depth = 0; at < text.length; at += 1) {
    if (PAIRS[text[at]]) depth += 1;
    else if (CLOSING.includes(text[at]) && depth-- === 0) return text[at] === wanted ? at : -1;
  }
  return -1;
}

function wordAt(text, place) {
  let [start, end] = [place, place];
  while (start > 0 && !SEPARATOR.test(text[start - 1])) start -= 1;
  while (end < text.length && !SEPARATOR.test(text[end])) end += 1;
  return [start, end];
}

/** Change the weight of the words at the selection; a weight of 1 has no brackets. */
function weigh(area, change) {
  const words = findWords(area.value, area.selectionStart, area.selectionEnd);
  if (!words.inner.trim()) return;
  const weight = Math.round(100 * Math.min(LIMITS[1], Math.max(LIMITS[0], words.weight + change))) / 100;
  const plain = weight === 1 && words.open === "(";
  const text = plain ? words.inner : `${words.open}${words.inner}:${weight}${PAIRS[words.open]}`;
  replace(area, words.start, words.end, text);
  const from = words.start + (plain ? 0 : 1);
  area.setSelectionRange(from, from + words.inner.length);
  if (!plain) $("prompt_weighting").checked = true;
}

/** Insert a text at the cursor, separated by commas from what is there. */
export function insert(area, text) {
  const { value, selectionStart: start, selectionEnd: end } = area;
  const before = start === 0 || /[\s,(]$/.test(value.slice(0, start)) ? "" : ", ";
  const after = end === value.length || /^[\s,)]/.test(value.slice(end)) ? "" : ", ";
  replace(area, start, end, before + text + after);
}

/** Replace a part of a text as if it were typed, so that it can be undone. */
function replace(area, start, end, text) {
  area.focus();
  area.setSelectionRange(start, end);
  if (!document.execCommand("insertText", false, text)) {
    area.setRangeText(text, start, end, "end");
    area.dispatchEvent(new Event("input", { bubbles: true }));
  }
}

/** Make a field as high as its text, in browsers whose style sheets can't. */
function grow(area) {
  if (CSS.supports("field-sizing", "content")) return;
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + 2}px`;
}

for (const id of ["prompt", "negative_prompt"]) {
  $(id).addEventListener("input", () => grow($(id)));
  $(id).addEventListener("keydown", (event) => {
    const change = STEPS[event.key];
    if (!change || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
    event.preventDefault();
    weigh($(id), change);
  });
}
