// A message at the lower edge: what happened, and a button to undo it or to stop it.

const $ = (id) => document.getElementById(id);
const SECONDS = 10;

let current = null; // {onEnd, timer}

/**
 * Show a message for some seconds (0: until the next one). `act` is called by its button with this `label`; `onEnd` when
 * the message goes without it. Returns {update(text), close()}.
 */
export function showToast(text, { label, act, onEnd, seconds = SECONDS } = {}) {
  end();
  const mine = (current = { onEnd, timer: seconds ? setTimeout(() => end(mine), seconds * 1000) : 0 });
  $("toast-text").textContent = text;
  $("toast-act").hidden = !act;
  $("toast-act").textContent = label ?? "";
  $("toast-act").onclick = () => {
    mine.onEnd = null;
    end(mine);
    act();
  };
  $("toast").hidden = false;
  return { update: (changed) => current === mine && ($("toast-text").textContent = changed), close: () => end(mine) };
}

function end(mine = current) {
  if (!mine || mine !== current) return;
  clearTimeout(mine.timer);
  current = null;
  $("toast").hidden = true;
  mine.onEnd?.();
}

$("toast-close").addEventListener("click", () => end());
