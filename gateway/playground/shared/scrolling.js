// Scrolling to a part of the page, without motion where the user prefers that.

const still = matchMedia("(prefers-reduced-motion: reduce)");

/** Scroll until an element is in the window; `block` is where, as for `scrollIntoView`. */
export function scrollToElement(element, block) {
  element.scrollIntoView({ behavior: still.matches ? "instant" : "smooth", block });
}
