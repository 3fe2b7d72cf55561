// ZIP archives of files that are stored as they are: images are compressed already.
// Source: PKWARE's APPNOTE, sections 4.3.7 (local header), 4.3.12 (central directory) and 4.3.16 (its end).

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
const VERSION = 20; // 2.0, the oldest that all programs read
const UTF8 = 0x0800; // names are UTF-8
const MAX_BYTES = 2 ** 32 - 1; // larger archives need another format
const MAX_FILES = 2 ** 16 - 1;

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

/** Return the CRC-32 of bytes. */
export function crc32(bytes) {
  let crc = 0xffffffff;
  for (let index = 0; index < bytes.length; index++) crc = TABLE[(crc ^ bytes[index]) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/**
 * Return a ZIP file as a Blob. `files` yields {name, blob, date}; one at a time is read, and the result refers to their
 * blobs instead of copying them. Throws an Error whose message is shown if the archive gets too large.
 */
export async function zip(files) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for await (const { name, blob, date } of files) {
    const encoded = new TextEncoder().encode(name);
    const crc = crc32(new Uint8Array(await blob.arrayBuffer()));
    const common = [[2, VERSION], [2, UTF8], [2, 0], ...dosTime(date), [4, crc], [4, blob.size], [4, blob.size], [2, encoded.length], [2, 0]];
    const local = record([[4, LOCAL], ...common]);
    directory.push(record([[4, CENTRAL], [2, VERSION], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]]), encoded);
    parts.push(local, encoded, blob);
    offset += local.length + encoded.length + blob.size;
    if (offset > MAX_BYTES || directory.length / 2 > MAX_FILES) throw new Error("An archive has at most 4 GiB: select fewer images.");
  }
  const size = directory.reduce((sum, { length }) => sum + length, 0);
  const count = directory.length / 2;
  const end = record([[4, END], [2, 0], [2, 0], [2, count], [2, count], [4, size], [4, offset], [2, 0]]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

/** Return numbers as bytes, each {size, value}, the lowest byte first. */
function record(fields) {
  const bytes = new Uint8Array(fields.reduce((sum, [size]) => sum + size, 0));
  const view = new DataView(bytes.buffer);
  let position = 0;
  for (const [size, value] of fields) {
    if (size === 2) view.setUint16(position, value, true);
    else view.setUint32(position, value, true);
    position += size;
  }
  return bytes;
}

/** Return the fields of a date: time in steps of two seconds, and day; years are 1980 to 2107. */
function dosTime(date) {
  const time = (date.getHours() << 11) | (date.getMinutes() << 5) | (date.getSeconds() >> 1);
  return [[2, time], [2, ((date.getFullYear() - 1980) << 9) | ((date.getMonth() + 1) << 5) | date.getDate()]];
}
