// All images, newest first, as lists show them; what changes them, here and in other tabs.

import * as store from "./store.js";

let images = [];
let onChange = () => {}; // is called with {kind: "added", image}, {kind: "changed", ids} or {kind: "removed", ids}

/** Read the images; `listener` hears of each change, `onProblem(text)` of images that can't be stored. */
export async function open(listener, onProblem) {
  onChange = listener;
  const found = await store.open({ onProblem, onChange: receive });
  images = [...images, ...found.filter(({ id }) => !find(id))]; // some may have been made meanwhile
}

/** Return the images whose prompt has all words of `query`, in any case; favourites only, if asked for. */
export function matching(query = "", favourites = false) {
  return images.filter((image) => matches(image, query, favourites));
}

/** Tell whether an image is in the list of `matching`. */
export function matches({ request, favourite }, query, favourites) {
  const prompt = `${request.prompt} ${request.model ?? ""} ${request.seed}`.toLowerCase();
  return (favourite || !favourites) && query.toLowerCase().split(/\s+/).every((word) => prompt.includes(word));
}

/** Return what is known of an image, or undefined. */
export function find(id) {
  return images.find((image) => image.id === id);
}

/** Keep a new image {blob, request, …}; return its record. */
export async function add({ blob, request, ...facts }) {
  const image = await store.add({ type: blob.type, created: Date.now(), ...facts, blob, request });
  images.unshift(image);
  onChange({ kind: "added", image });
  return record(image, { blob, request });
}

/** Return the whole record of an image: with `blob`, `url` and the whole request; undefined if it is gone. */
export async function load(id) {
  const [image, file] = [find(id), await store.load(id)];
  return image && file && record(image, file);
}

/** Make images favourites, or not any more. */
export async function setFavourite(ids, favourite) {
  if (favourite) store.persist();
  await update(ids, { favourite });
}

/** Remove images; return {stored, undo, commit}: `stored` is done when a reload shows none; one of the others must be called. */
export function remove(ids) {
  const removed = images.filter(({ id }) => ids.includes(id));
  images = images.filter(({ id }) => !ids.includes(id));
  onChange({ kind: "removed", ids });
  const marked = store.change(removed, { deleted: Date.now() });
  return {
    stored: marked,
    commit: () => marked.then(() => store.purge(ids)),
    undo: async () => {
      await marked;
      images = [...images, ...removed].sort((one, other) => (one.id < other.id ? 1 : -1));
      await store.change(removed, { deleted: 0 });
      onChange({ kind: "restored", ids });
    },
  };
}

async function update(ids, changes) {
  for (const image of images) if (ids.includes(image.id)) Object.assign(image, changes);
  onChange({ kind: "changed", ids });
  await store.change(images.filter(({ id }) => ids.includes(id)), changes);
}

/** Take over a change of another tab. */
function receive({ kind, image, ids, changes }) {
  if (kind === "added") {
    images.unshift(image);
    return onChange({ kind, image });
  }
  const known = images.filter(({ id }) => ids.includes(id));
  for (const one of known) Object.assign(one, changes);
  if (changes.deleted) {
    images = images.filter(({ id }) => !ids.includes(id));
    onChange({ kind: "removed", ids });
  } else if (known.length) {
    onChange({ kind: "changed", ids });
  } else {
    open(onChange, () => {}).then(() => onChange({ kind: "restored", ids })); // undone there
  }
}

/** Return a record whose `url` is made when it is first needed; `release` frees it. */
function record(image, { blob, request }) {
  let url = null;
  return {
    ...image,
    blob,
    request,
    get url() {
      return (url ??= URL.createObjectURL(blob));
    },
    release() {
      if (url) URL.revokeObjectURL(url);
      url = null;
    },
  };
}
