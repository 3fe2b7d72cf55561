// The search of the documentation: routes and their fields, found as they are typed.

const $ = (id) => document.getElementById(id);
const narrow = matchMedia("(max-width: 56rem)");

let routes = []; // {element, text, group: {element, index}, rows: [{element, name, box}]}

/** Read the rendered routes, and connect the field and its keys. */
export function open() {
  routes = [...document.querySelectorAll("section.operation")].map(read);
  if (narrow.matches) $("index").open = false;
  $("search").addEventListener("input", show);
  $("search").addEventListener("keydown", (event) => {
    if (event.key === "Enter") goToFirst();
    if (event.key === "Escape") clear();
  });
  $("groups").addEventListener("click", ({ target }) => {
    if (target.tagName !== "A") return;
    clear(); // what is linked may be hidden
    if (narrow.matches) $("index").open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.matches("input, textarea")) return;
    event.preventDefault();
    $("search").focus();
    $("search").select();
  });
}

function read(element) {
  const group = element.closest("section.group");
  const rows = [...element.querySelectorAll("tbody tr")].map((row) =>
    ({ element: row, name: row.cells[0].textContent.toLowerCase(), box: row.closest("details") }));
  const head = [...element.querySelectorAll("h3, .paths")].map((one) => one.textContent).join(" ");
  const text = `${group.querySelector("h2").textContent} ${head} ${rows.map(({ name }) => name).join(" ")}`.toLowerCase();
  return { element, text, group, rows, wasOpen: [...element.querySelectorAll("details")].map((one) => [one, one.open]) };
}

/** Show the routes that have all words of the search, with the fields that have one. */
function show() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = routes.filter((route) => mark(route, words));
  for (const group of document.querySelectorAll("section.group")) {
    group.hidden = !group.querySelector("section.operation:not([hidden])");
  }
  document.querySelector("#article").classList.toggle("searching", words.length > 0);
  $("found").textContent = words.length ? countOf(found.length) : "";
}

function countOf(count) {
  if (!count) return "Nothing has all of these words.";
  return count === 1 ? "1 route" : `${count} routes`;
}

/** Show or hide a route, and mark its fields; return whether it is shown. */
function mark({ element, text, rows, wasOpen }, words) {
  element.hidden = !words.every((word) => text.includes(word));
  for (const [box, open] of wasOpen) box.open = open && !words.length;
  for (const row of rows) {
    const hit = words.some((word) => row.name.includes(word));
    row.element.classList.toggle("found", hit);
    if (hit && !element.hidden) row.box.open = true;
  }
  return !element.hidden;
}

function goToFirst() {
  const first = routes.find(({ element }) => !element.hidden);
  (first?.element.querySelector("tr.found") ?? first?.element)?.scrollIntoView({ block: "start" });
}

function clear() {
  $("search").value = "";
  show();
}
