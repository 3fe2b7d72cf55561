// What is wrong in the form, said below the field that it is about: browsers' own bubbles are gone after a moment.

const EMPTY = "Say what the picture shall show.";

/** Tell whether all fields are right; else say what is wrong, and go to the first that is. */
export function check(form) {
  for (const field of form.elements) clear(field);
  const wrong = [...form.elements].filter((field) => !field.validity.valid && !field.closest("[hidden]"));
  for (const field of wrong) {
    field.closest("details")?.setAttribute("open", "");
    complain(field);
  }
  wrong[0]?.focus();
  return wrong.length === 0;
}

function complain(field) {
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

function problem({ validity, min, max, step, type }) {
  if (validity.valueMissing) return EMPTY;
  if (type !== "number") return "This is too long.";
  const kind = step === "any" ? "a number" : "a whole number";
  return max === "" ? `It must be ${kind} from ${min}.` : `It must be ${kind} from ${min} to ${max}.`;
}
