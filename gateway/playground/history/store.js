// Images that survive a reload, in IndexedDB. Three stores by id: `images` has what lists need, `thumbs` small copies,
// `files` the images and their whole requests. If the browser stores nothing, or its storage is full, images stay in
// memory. Other tabs hear of each change.

const NAME = "tintype-images";
const STORES = ["images", "thumbs", "files"];
const THUMB = 320; // pixels of the shorter side
const MINUTE = 60_000; // milliseconds

const memory = new Map(); // what could not be stored, by id: {image, thumb, file}
const others = new BroadcastChannel(NAME);

let db = null; // null: nothing can be stored
let made = 0; // images of this tab, so that those of one millisecond keep their order
let listener = { onChange() {}, onProblem() {} };

/**
 * Open the store; return what is known of each image, newest first: {id, type, request, created, width, height,
 * favourite}, whose `request` lacks the bytes of images. `onChange(change)` is called for changes of other tabs,
 * `onProblem(text)` if images can't be stored.
 */
export async function open(given) {
  listener = given;
  others.onmessage = ({ data }) => listener.onChange(data);
  try {
    db = await openDatabase();
    const images = await transact(["images"], "readonly", (store) => promised(store.getAll()));
    const [gone, kept] = partition(images, ({ deleted }) => deleted);
    purge(gone.filter(({ deleted }) => deleted < Date.now() - MINUTE).map(({ id }) => id));
    return kept.reverse();
  } catch (error) {
    db = null;
    listener.onProblem(`This browser keeps no images here (${error.message}): they stay until this tab is closed.`);
    return [];
  }
}

/** Keep {blob, type, request, created, width, height}; return what lists need of it. */
export async function add({ blob, request, ...facts }) {
  const id = `${facts.created.toString(36).padStart(9, "0")}-${String(made++).padStart(6, "0")}-${Math.random().toString(36).slice(2, 8)}`;
  const image = { ...facts, id, favourite: false, bytes: blob.size, request: withoutBytes(request) };
  const thumb = await shrink(blob).catch(() => blob);
  try {
    if (!db) throw new Error("there is no database");
    await transact(STORES, "readwrite", (images, thumbs, files) => {
      images.put(image);
      thumbs.put(thumb, id);
      files.put({ blob, request }, id);
    });
    others.postMessage({ kind: "added", image });
  } catch (error) {
    memory.set(id, { image, thumb, file: { blob, request } });
    if (error.name === "QuotaExceededError") {
      listener.onProblem("The storage of this browser is full: new images stay until this tab is closed. Download and delete some.");
    } else if (db) {
      listener.onProblem(`The image can't be stored (${error.message}): it stays until this tab is closed.`);
    }
  }
  return image;
}

/** Return the small copies of images, in their order; undefined for one that is gone. */
export async function thumbnails(ids) {
  return readEach("thumbs", ids, (id) => memory.get(id)?.thumb);
}

/** Return {blob, request} of an image; undefined if it is gone. */
export async function load(id) {
  return (await readEach("files", [id], (one) => memory.get(one)?.file))[0];
}

/** Change facts of images, as `open` returned them: such as {favourite: true}, or {deleted: time} until `purge`. */
export async function change(images, changes) {
  const ids = images.map(({ id }) => id);
  for (const id of ids) if (memory.has(id)) Object.assign(memory.get(id).image, changes);
  others.postMessage({ kind: "changed", ids, changes });
  await onStored(ids, ["images"], (_, store) => {
    for (const image of images) if (!memory.has(image.id)) store.put({ ...image, ...changes });
  });
}

/** Delete images for good. */
export async function purge(ids) {
  for (const id of ids) memory.delete(id);
  await onStored(ids, STORES, (stored, ...stores) => {
    for (const id of stored) for (const store of stores) store.delete(id);
  });
}

/** Ask the browser to keep the images even if its disk gets full. */
export async function persist() {
  await navigator.storage?.persist?.().catch(() => false);
}

/** Return a request without the bytes of the images in it. */
export function withoutBytes(request) {
  const short = { ...request };
  for (const [key, value] of Object.entries(request)) short[key] = shorten(value);
  return short;
}

function shorten(value) {
  if (typeof value === "string") return value.startsWith("data:image/") ? "data:image/…" : value;
  if (Array.isArray(value)) return value.map(shorten);
  return value && typeof value === "object" ? withoutBytes(value) : value;
}

async function shrink(blob) {
  const whole = await createImageBitmap(blob);
  const scale = Math.min(1, THUMB / Math.min(whole.width, whole.height));
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(whole.width * scale)), Math.max(1, Math.round(whole.height * scale)));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(whole, 0, 0, canvas.width, canvas.height);
  whole.close();
  return canvas.convertToBlob({ type: "image/webp", quality: 0.82 });
}

function openDatabase() {
  const request = indexedDB.open(NAME, 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("images", { keyPath: "id" });
    request.result.createObjectStore("thumbs");
    request.result.createObjectStore("files");
  };
  return promised(request).then((opened) => {
    opened.onversionchange = () => opened.close(); // a tab with a newer page needs it
    opened.onclose = () => (db = null);
    return opened;
  });
}

async function readEach(name, ids, remembered) {
  const stored = ids.filter((id) => !memory.has(id));
  const found = db && stored.length ? await transact([name], "readonly", (store) => Promise.all(stored.map((id) => promised(store.get(id))))) : [];
  const byId = new Map(stored.map((id, index) => [id, found[index]]));
  return ids.map((id) => remembered(id) ?? byId.get(id));
}

async function onStored(ids, names, act) {
  const stored = ids.filter((id) => !memory.has(id));
  if (db && stored.length) await transact(names, "readwrite", (...stores) => act(stored, ...stores));
}

async function transact(names, mode, act) {
  const transaction = db.transaction(names, mode);
  const ended = new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onerror = transaction.onabort = () => reject(transaction.error ?? new Error("the browser aborted it"));
  });
  ended.catch(() => {}); // `act` may fail first
  const result = act(...names.map((name) => transaction.objectStore(name)));
  if (mode === "readwrite") transaction.commit?.(); // also if the page is closed now
  await ended;
  return result;
}

function promised(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function partition(items, test) {
  return [items.filter(test), items.filter((item) => !test(item))];
}
