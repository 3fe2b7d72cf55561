// Validation of the form, with each message below its field: browsers' own messages disappear after a moment.

const EMPTY = "Describe the image.";

/** Tell whether all fields are valid; if not, show a message at each invalid field, and focus the first. */
export function validate(form) {
  for (const field of form.elements) clear(field);
  const invalid = [...form.elements].filter((field) => !field.validity.valid && !field.closest("[hidden]"));
  for (const field of invalid) {
    field.closest("details")?.setAttribute("open", "");
    showMessage(field);
  }
  invalid[0]?.focus();
  return invalid.length === 0;
}

function showMessage(field) {
  const text = document.createElement("p");
  Object.assign(text, { className: "problem", id: `${field.id}-problem`, textContent: problem(field) });
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-describedby", text.id);
  field.after(text);
  field.addEventListener("input", () => clear(field), { once: true });
}

function clear(field) {
  if (field.getAttribute("aria-invalid") !== "true") return;
  document.getElementById(`${field.id}-problem`)?.remove();
  field.removeAttribute("aria-invalid");
  field.removeAttribute("aria-describedby");
}

function problem({ validity, validationMessage, min, max, step, type }) {
  if (validity.customError) return validationMessage;
  if (validity.valueMissing) return EMPTY;
  if (type !== "number") return "This is too long.";
  const kind = step === "any" ? "a number" : "a whole number";
  return max === "" ? `It must be ${kind} from ${min}.` : `It must be ${kind} from ${min} to ${max}.`;
}
