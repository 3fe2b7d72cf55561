// Images that the user selects: checked, shown by a blob: URL, and sent as a data: URL.

const TYPES = new Set(["image/png", "image/jpeg", "image/webp"]);
const MAX_SIZE = 16 * 2 ** 20; // bytes; the gateway accepts larger bodies, but they take long

/** Return {blob, url, data} of a file. Throws an Error whose message is shown. */
export async function load(blob) {
  if (!blob.size) throw new Error("The image is empty.");
  if (!TYPES.has(blob.type)) throw new Error("The image must be a PNG, JPEG or WebP file.");
  if (blob.size > MAX_SIZE) throw new Error(`The image must have at most ${MAX_SIZE / 2 ** 20} MiB.`);
  return { blob, url: URL.createObjectURL(blob), data: await readAsDataUrl(blob) };
}

/** Return the image of a data: URL, as `load` does. */
export async function loadDataUrl(text) {
  const [kind, base64] = text.split(",");
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return load(new Blob([bytes], { type: kind.slice("data:".length).split(";")[0] }));
}

/** Free what an image holds; it can't be shown any more. */
export function release(image) {
  if (image) URL.revokeObjectURL(image.url);
}

function readAsDataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error("The image can't be read."));
    reader.readAsDataURL(blob);
  });
}
