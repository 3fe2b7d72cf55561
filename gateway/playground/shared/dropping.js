// Files that are dropped on the page or pasted. Elements with `data-drop` take what is dropped on them.

/** Call `take(name, files)`; `name` is that of the element below the pointer, empty elsewhere and for pasted files. */
export function open(take) {
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.toggle("dragging", event.dataTransfer.types.includes("Files"));
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget ?? stopDragging());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    stopDragging();
    const place = event.target.closest?.("[data-drop]")?.dataset.drop ?? "";
    if (event.dataTransfer.files.length) take(place, [...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) take("", [...event.clipboardData.files]);
  });
}

function stopDragging() {
  document.body.classList.remove("dragging");
}
