// The two lines below the image: what was done, and what went wrong, with what to do about it.

const $ = (id) => document.getElementById(id);

let onKey = () => {}; // is called if a request needs a key

/** Call `requestKey` whenever an error says that the key is missing or wrong. */
export function open({ requestKey }) {
  onKey = requestKey;
}

/** Show what was done; screen readers read it. */
export function showStatus(text) {
  $("status").textContent = text;
}

/** Show an error: an Error whose message is a sentence. The field that it names gets the focus. */
export function showError(error) {
  if (error.name === "AbortError") return showStatus("Cancelled.");
  showStatus("");
  $("error").textContent = error.message;
  noteError(error);
}

/** Do what an error asks for without showing it: ask for a key, or focus the field at fault. */
export function noteError(error) {
  if (error.status === 401) onKey();
  const field = error.param && $("form").querySelector(`[name="${CSS.escape(error.param)}"]`);
  field?.closest("details")?.setAttribute("open", "");
  field?.focus();
}

/** Remove the error, or only this one. */
export function clearError(message = $("error").textContent) {
  if ($("error").textContent === message) $("error").textContent = "";
}
