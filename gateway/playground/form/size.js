// The size of the image: by aspect ratio with about as many pixels as the model was trained for, one of usual sizes, a
// free entry, or the size of an image that is sent.

const RATIOS = ["1:1", "5:4", "4:3", "3:2", "16:9", "21:9", "4:5", "3:4", "2:3", "9:16"];
const USUAL = ["256x256", "512x512", "768x768", "1024x1024", "1024x1536", "1536x1024", "1024x1792", "1792x1024"];
const OTHER = "other";
const JOIN = " / ";
const LARGE = 512 * 512; // pixels; models of this size or more were trained with sides that are multiples of 64
const DISTANCE = 0.5; // how much a wrong number of pixels counts, compared with a wrong ratio

const $ = (id) => document.getElementById(id);
const ownSizes = new Set(); // the images whose size the result may have
let native = null; // { width, height, multiple } of the model

/** Offer the sizes of a model; `parameters` are those of the list of models. */
export function setModel({ width, height } = {}) {
  native = width && height ? { width: width.default, height: height.default, multiple: width.step ?? 1 } : null;
  showSizes();
}

/** Offer and select the size of an image, named for the option, or stop offering it. */
export function offerOwnSize(name, present) {
  if (present === ownSizes.has(name)) return;
  if (present) ownSizes.add(name);
  else ownSizes.delete(name);
  showSizes();
  if (present) $("size").value = "";
  showSides();
}

/** Return the size as WIDTHxHEIGHT; undefined if it is that of an image. */
export function readSize() {
  if ($("size").value !== OTHER) return $("size").value || undefined;
  return `${$("width").value}x${$("height").value}`;
}

/** Select a size, or the first one if it is undefined. */
export function writeSize(size) {
  if (!size) $("size").selectedIndex = 0;
  else if (isListed(size)) $("size").value = size;
  else {
    $("size").value = OTHER;
    [$("width").value, $("height").value] = size.split("x");
  }
  showSides();
}

/** Return sizes by their value: ratio and sides for each aspect ratio, about as large as the model's own size. */
export function sizesOf({ width, height, multiple }) {
  const sizes = new Map([[`${width}x${height}`, ratioName(width, height)]]);
  for (const ratio of RATIOS) {
    const [across, down] = ratio.split(":").map(Number);
    const size = nearest(across / down, width * height, multiple);
    const names = sizes.get(size)?.split(JOIN) ?? []; // small models have one size for several ratios
    if (!names.includes(ratio)) sizes.set(size, [...names, ratio].join(JOIN));
  }
  return sizes;
}

/** Return the size of a ratio and about that many pixels whose sides are multiples of what the model needs. */
function nearest(ratio, pixels, multiple) {
  const step = pixels >= LARGE && 64 % multiple === 0 ? 64 : multiple;
  let best = { cost: Infinity };
  const ideal = Math.sqrt(pixels * ratio);
  for (let width = step; width <= Math.min(4096, 2 * ideal + step); width += step) {
    for (const rounded of [Math.floor, Math.ceil]) {
      const height = step * Math.max(1, rounded(width / ratio / step));
      const cost = Math.abs(Math.log(width / height / ratio)) + DISTANCE * Math.abs(Math.log((width * height) / pixels));
      if (cost < best.cost && height <= 4096) best = { cost, size: `${width}x${height}` };
    }
  }
  return best.size;
}

function ratioName(width, height) {
  const exact = RATIOS.find((ratio) => {
    const [across, down] = ratio.split(":").map(Number);
    return across * height === down * width;
  });
  return exact ?? "own";
}

function showSizes() {
  const chosen = $("size").value;
  const ratio = $("size").selectedOptions[0]?.dataset.ratio;
  const sizes = native ? sizesOf(native) : new Map();
  const [first] = ownSizes;
  const [own] = sizes.keys();
  const ratios = [...sizes].map(([size, name]) => sizeOption(size, name, size === own));
  const others = USUAL.filter((size) => !sizes.has(size)).map((size) => new Option(sides(size), size));
  $("size").replaceChildren(
    ...(first ? [new Option(`Same as the ${first}`, "")] : []),
    ...(ratios.length ? [group("By aspect ratio", ratios)] : []),
    group("Other sizes", [...others, new Option("Free entry …", OTHER)]),
  );
  const same = ratios.find((option) => sharesRatio(option, ratio)); // another model's size of that ratio
  if (same) same.selected = true;
  else if (isListed(chosen) || chosen === OTHER) $("size").value = chosen;
  else if (/x/.test(chosen)) writeSize(chosen);
  showSides();
}

function sharesRatio({ dataset }, ratio = "") {
  const names = ratio.split(JOIN);
  return dataset.ratio.split(JOIN).some((name) => names.includes(name));
}

function sizeOption(size, ratio, own) {
  const option = new Option(`${ratio} – ${sides(size)}${own ? " (native)" : ""}`, size);
  option.dataset.ratio = own ? "native" : ratio;
  return option;
}

function group(label, options) {
  const group = Object.assign(document.createElement("optgroup"), { label });
  group.append(...options);
  return group;
}

function sides(size) {
  return size.replace("x", " × ");
}

function isListed(size) {
  return [...$("size").options].some(({ value }) => value === size && value !== OTHER);
}

function showSides() {
  const free = $("size").value === OTHER;
  for (const side of document.querySelectorAll("[data-size]")) side.hidden = !free;
  $("size-note").hidden = !free || !native;
  if (native) $("size-note").textContent = `Native: ${native.width} × ${native.height}. Other sides than multiples of ${native.multiple} are resampled.`;
  $("swap").disabled = !$("size").value;
}

/** Exchange width and height. */
function swap() {
  const [width, height] = readSize().split("x");
  writeSize(`${height}x${width}`);
  $("size").dispatchEvent(new Event("input", { bubbles: true }));
}

$("size").addEventListener("change", () => {
  const before = $("size").dataset.before?.split("x");
  if ($("size").value === OTHER && before?.length === 2) [$("width").value, $("height").value] = before;
  showSides();
});
$("size").addEventListener("focus", () => ($("size").dataset.before = $("size").value)); // a free entry begins with it
$("swap").addEventListener("click", swap);
