// Copying text. Browsers lend the clipboard to https and localhost only; elsewhere the text is shown, selected.

const $ = (id) => document.getElementById(id);

/** Copy, and tell that it is done. */
export async function copy(text, told) {
  try {
    await navigator.clipboard.writeText(text);
    told("Copied.");
  } catch {
    $("snippet-text").value = text;
    $("snippet").showModal();
    $("snippet-text").select();
  }
}

$("snippet-close").addEventListener("click", () => $("snippet").close());
