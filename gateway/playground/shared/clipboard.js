// Copying text. Browsers allow the clipboard only on https and localhost; elsewhere the text is shown and selected.

const $ = (id) => document.getElementById(id);

/** Copy a text, and report it. */
export async function copy(text, report) {
  try {
    await navigator.clipboard.writeText(text);
    report("Copied.");
  } catch {
    $("snippet-text").value = text;
    $("snippet").showModal();
    $("snippet-text").select();
  }
}

$("snippet-close").addEventListener("click", () => $("snippet").close());
