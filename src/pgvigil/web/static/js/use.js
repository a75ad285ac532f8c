/** Preact's hooks around what lives outside of it. */

import { useEffect, useState } from "../vendor/preact-htm.js";
import { live, subscribe } from "./live.js";

/** What is known now; the caller is drawn again when it changes. */
export function useLive() {
  const [, draw] = useState(0);
  useEffect(() => subscribe(() => draw((n) => n + 1)), []);
  return live;
}

/** The time, moved on every so many milliseconds. @param {number} every */
export function useNow(every) {
  const [now, tick] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => tick(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}

/** The width of an element. @param {{current: ?HTMLElement}} ref @returns {number} 0: not known yet */
export function useWidth(ref) {
  const [width, setWidth] = useState(0);
  useEffect(() => {
    if (!ref.current) return undefined;
    const observer = new ResizeObserver(([entry]) => setWidth(Math.round(entry.contentRect.width)));
    observer.observe(ref.current);
    return () => observer.disconnect();
  }, []);
  return width;
}

/** Call it on a key press outside of fields. @param {Record<string, () => void>} keys */
export function useKeys(keys) {
  useEffect(() => {
    /** @param {KeyboardEvent} event */
    const pressed = (event) => {
      const target = /** @type {HTMLElement} */ (event.target);
      const isTyping = target.closest("input, select, textarea") || document.querySelector("dialog[open]");
      if (isTyping || event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
      event.preventDefault();
      keys[event.key]();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  });
}
