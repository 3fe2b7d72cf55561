// A notice in the form about settings that came from elsewhere: nothing in the form is replaced without asking.

import { adopt } from "./adopt.js";
import { readInfotext, readSettings } from "./metadata.js";

const LISTED = 6; // problems that are shown
const $ = (id) => document.getElementById(id);

/** Show a text with buttons, each a label and what it does; the notice closes before. */
export function show(text, actions = []) {
  const buttons = actions.map(([label, act]) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: label });
    button.addEventListener("click", () => {
      close();
      act();
    });
    return button;
  });
  $("notice-text").textContent = text;
  $("notice-actions").replaceChildren(...buttons);
  $("notice").hidden = false;
}

/** Close the notice. */
export function close() {
  $("notice").hidden = true;
}

/** Fill the form with settings, and say what this server does not have; `first` are problems that are known already. */
export async function use(settings, from, first = []) {
  const problems = [...first, ...(await adopt(settings))];
  const more = problems.length > LISTED ? [`And ${problems.length - LISTED} more.`] : [];
  show([`The settings of the ${from} are filled in.`, ...problems.slice(0, LISTED), ...more].join(" "));
  $("prompt").focus();
}

/**
 * Offer the settings of a dropped or pasted image file, beside using it as an image with `take()`. Returns false
 * without settings: the caller uses it as an image then. With `taken` it is used as an image already.
 */
export async function offer(file, take, { taken = false } = {}) {
  const settings = file && (await readSettings(file));
  if (!settings) return false;
  show("This image has settings.", [["Use its settings", () => use(settings, "image")], ...(taken ? [] : [["Use as image", take]])]);
  $("notice").scrollIntoView({ block: "nearest" });
  return true;
}

/** Fill the form with what a link has. */
export function useLink({ request, problems }) {
  if (Object.keys(request).length) return use(request, "link", problems);
  return show(["This link has no valid settings.", ...problems.slice(0, LISTED)].join(" "));
}

/** Connect the notice, and the field that reads the settings of a file. */
export function open() {
  $("notice-close").addEventListener("click", () => {
    close();
    $("prompt").focus();
  });
  $("settings-file").addEventListener("change", async ({ target }) => {
    const file = target.files[0];
    target.value = "";
    if (!file) return;
    const settings = await readSettings(file);
    if (settings) await use(settings, "image");
    else show("This file has no settings of tintype, AUTOMATIC1111, ComfyUI or InvokeAI.");
  });
  $("prompt").addEventListener("paste", (event) => {
    const settings = readInfotext(event.clipboardData?.getData("text/plain") ?? "");
    if (!settings) return;
    show("The pasted text has settings.", [["Use its settings", () => use(settings, "text")]]);
  });
}
