// The texts in PNG, JPEG and WebP files, without decoding the image. A file is read once, from its front to its end;
// texts of one file have at most MOST characters together, also when they are compressed, and damaged ones are skipped.
//
// Sources: PNG (third edition) 11.3.3; EXIF 2.32, 4.6.5 (UserComment); TIFF 6.0, section 2; the WebP container.

const MOST = 4_000_000; // bytes of all texts of a file: ComfyUI's graphs have up to about a million
const FILE = 100_000_000; // bytes of a file that is read
const CHUNKS = 20_000; // of a file
const ENTRIES = 512; // of a directory of EXIF
const EXIF_IFD = 0x8769;
const USER_COMMENT = 0x9286;
const MAKE = 0x010f; // ComfyUI's savers of WebP write `workflow:{…}` here
const DESCRIPTION = 0x010e; // and `prompt:{…}` in one of these
const MODEL = 0x0110;

const latin = new TextDecoder("latin1");
const utf8 = new TextDecoder();

/** Return the texts of a file by their key; a UserComment has the key `parameters`. */
export async function readTexts(file) {
  if (file.size > FILE) return {};
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (startsWith(bytes, "\x89PNG\r\n\x1a\n")) return readPng(bytes);
  if (startsWith(bytes, "\xff\xd8")) return readExif(findInJpeg(bytes));
  if (startsWith(bytes, "RIFF") && startsWith(bytes.subarray(8), "WEBP")) return readExif(findInWebp(bytes));
  return {};
}

function startsWith(bytes, text) {
  return bytes.length >= text.length && [...text].every((letter, index) => bytes[index] === letter.charCodeAt(0));
}

const viewOf = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

async function readPng(bytes) {
  const view = viewOf(bytes);
  const texts = {};
  let left = MOST;
  for (let at = 8, count = 0; at + 12 <= bytes.length && count < CHUNKS; count += 1) {
    const kind = latin.decode(bytes.subarray(at + 4, at + 8));
    const end = at + 8 + view.getUint32(at);
    if (end + 4 > bytes.length) break;
    const data = bytes.subarray(at + 8, end);
    if (kind === "eXIf") Object.assign(texts, readExif(data));
    if (/^(tEXt|zTXt|iTXt)$/.test(kind) && left > 0) {
      const { key, text, size } = await readText(kind, data, left);
      left -= size;
      if (key) setText(texts, key, text);
    }
    at = end + 4;
  }
  return texts;
}

function setText(texts, key, text) {
  Object.defineProperty(texts, key, { value: text, enumerable: true, configurable: true, writable: true });
}

/** Return key and text of a chunk, and how many bytes the text has; a text beyond `most` bytes is left out. */
async function readText(kind, data, most) {
  const zero = data.indexOf(0);
  const nothing = { key: "", text: "", size: 0 };
  if (zero < 1 || zero > 79) return nothing;
  const key = latin.decode(data.subarray(0, zero));
  let rest = data.subarray(zero + 1);
  let packed = kind === "zTXt";
  if (packed) rest = rest.subarray(1); // the method of compression
  if (kind === "iTXt") {
    packed = rest[0] === 1;
    rest = afterZero(afterZero(rest.subarray(2))); // the language and the translated key
  }
  const plain = packed ? await inflate(rest, most) : rest;
  if (!plain || plain.length > most) return { ...nothing, size: plain ? 0 : most };
  return { key, text: (kind === "iTXt" ? utf8 : latin).decode(plain), size: plain.length };
}

function afterZero(bytes) {
  const zero = bytes.indexOf(0);
  return zero < 0 ? bytes.subarray(bytes.length) : bytes.subarray(zero + 1);
}

/** Return inflated bytes; null if they are damaged, or more than `most`: the rest is not inflated then. */
async function inflate(bytes, most) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const reader = stream.getReader();
  const parts = [];
  let size = 0;
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      size += part.value.length;
      if (size > most) {
        await reader.cancel();
        return null;
      }
      parts.push(part.value);
    }
  } catch {
    return new Uint8Array();
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** Return the EXIF block of a JPEG file, empty if there is none: segments begin with a mark and their length. */
function findInJpeg(bytes) {
  const view = viewOf(bytes);
  for (let at = 2, count = 0; at + 4 <= bytes.length && bytes[at] === 0xff && count < CHUNKS; count += 1) {
    const mark = bytes[at + 1];
    if (mark === 0xda) break; // the image begins
    const end = at + 2 + view.getUint16(at + 2);
    const data = bytes.subarray(at + 4, end);
    if (mark === 0xe1 && startsWith(data, "Exif\0\0")) return data.subarray(6);
    at = Math.max(end, at + 4);
  }
  return new Uint8Array();
}

/** Return the EXIF block of a WebP file, empty if there is none. */
function findInWebp(bytes) {
  const view = viewOf(bytes);
  for (let at = 12, count = 0; at + 8 <= bytes.length && count < CHUNKS; count += 1) {
    const size = view.getUint32(at + 4, true);
    const data = bytes.subarray(at + 8, at + 8 + size);
    if (startsWith(bytes.subarray(at), "EXIF")) return startsWith(data, "Exif\0\0") ? data.subarray(6) : data;
    at += 8 + size + (size % 2);
  }
  return new Uint8Array();
}

/** Return the texts of an EXIF block, which is a TIFF file without an image. */
function readExif(bytes) {
  if (bytes.length < 8 || bytes.length > MOST) return {};
  const little = startsWith(bytes, "II*\0");
  if (!little && !startsWith(bytes, "MM\0*")) return {};
  const main = readDirectory(bytes, viewOf(bytes).getUint32(4, little), little);
  const texts = {};
  for (const tag of [MAKE, DESCRIPTION, MODEL]) {
    const [, key, text] = /^(prompt|workflow):([^]*)$/i.exec(utf8.decode(valueOf(bytes, main.get(tag))).replace(/\0+$/, "")) ?? [];
    if (key) texts[key.toLowerCase()] = text;
  }
  const inner = readDirectory(bytes, main.get(EXIF_IFD)?.offset ?? 0, little);
  const comment = decodeComment(valueOf(bytes, inner.get(USER_COMMENT)), little);
  return comment ? { ...texts, parameters: comment } : texts;
}

/** Return count and offset of each tag of the directory at `at`; none if it lies outside. */
function readDirectory(bytes, at, little) {
  const tags = new Map();
  if (at < 8 || at + 2 > bytes.length) return tags;
  const view = viewOf(bytes);
  const entries = Math.min(view.getUint16(at, little), ENTRIES);
  for (let entry = at + 2; entry + 12 <= bytes.length && tags.size < entries; entry += 12) {
    tags.set(view.getUint16(entry, little), { count: view.getUint32(entry + 4, little), offset: view.getUint32(entry + 8, little) });
  }
  return tags;
}

function valueOf(bytes, { count = 0, offset = 0 } = {}) {
  return bytes.subarray(offset, Math.min(offset + count, bytes.length));
}

/** Return the text of a UserComment: its first eight bytes name the encoding; UTF-16 has either byte order. */
function decodeComment(bytes, little) {
  const body = bytes.subarray(8);
  if (startsWith(bytes, "UNICODE\0")) return new TextDecoder(hasLittleOrder(body, little) ? "utf-16le" : "utf-16be").decode(body);
  if (startsWith(bytes, "ASCII\0\0\0")) return utf8.decode(body);
  return utf8.decode(startsWith(bytes, "\0\0\0\0\0\0\0\0") ? body : bytes).replace(/\0+$/, "");
}

/** Tell the byte order of UTF-16 by where the zeros of Latin letters are. */
function hasLittleOrder(bytes, little) {
  let balance = 0;
  for (let at = 0; at + 1 < Math.min(bytes.length, 2000); at += 2) balance += (bytes[at + 1] === 0) - (bytes[at] === 0);
  return balance === 0 ? little : balance > 0;
}
