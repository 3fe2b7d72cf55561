// A notice at the lower edge: what happened, and a button to undo it or to stop it.

const $ = (id) => document.getElementById(id);
const SECONDS = 10;

let current = null; // {onEnd, timer}

/**
 * Show a notice for some seconds (0: until the next one). `act` is called by its button with this `label`; `onEnd` when
 * the notice goes without it. Returns {update(text), close()}.
 */
export function showNotice(text, { label, act, onEnd, seconds = SECONDS } = {}) {
  end();
  const mine = (current = { onEnd, timer: seconds ? setTimeout(() => end(mine), seconds * 1000) : 0 });
  $("notice-text").textContent = text;
  $("notice-act").hidden = !act;
  $("notice-act").textContent = label ?? "";
  $("notice-act").onclick = () => {
    mine.onEnd = null;
    end(mine);
    act();
  };
  $("notice").hidden = false;
  return { update: (changed) => current === mine && ($("notice-text").textContent = changed), close: () => end(mine) };
}

function end(mine = current) {
  if (!mine || mine !== current) return;
  clearTimeout(mine.timer);
  current = null;
  $("notice").hidden = true;
  mine.onEnd?.();
}

$("notice-close").addEventListener("click", () => end());
