/** Numbers and times for people: short, aligned, with their unit. */

import { currentLanguage, t } from "./i18n.js";

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** @param {?number | undefined} count @returns {string} empty: not known */
export function bytes(count) {
  if (count === null || count === undefined) return "";
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit && value < 10 ? 1 : 0;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** @param {?number | undefined} seconds @returns {string} empty: not known */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 0.95) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 119.5) return `${Math.round(seconds)} s`;
  if (seconds < 7170) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_000) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** How long ago something was. @param {?string} iso @param {number} now milliseconds */
export function since(iso, now = Date.now()) {
  if (!iso) return "";
  return t("time.ago", { time: duration(Math.max(1, (now - Date.parse(iso)) / 1000)) });
}

/** @param {string} iso */
export function clock(iso) {
  return new Date(iso).toLocaleTimeString(currentLanguage(), { hour12: false });
}

/** @param {string} iso */
export function day(iso) {
  const options = /** @type {const} */ ({ weekday: "short", day: "numeric", month: "short" });
  return new Date(iso).toLocaleDateString(currentLanguage(), options);
}

/** Date and time, to the second. @param {string} iso */
export const moment = (iso) => `${day(iso)}, ${clock(iso)}`;

/** A standby's lag in words: bytes, and seconds where they matter. @param {import("./types.js").Node} node */
export function lag(node) {
  if (node.lag_bytes === null) return "";
  const late = node.lag_s && node.lag_s >= 0.1 ? `, ${duration(node.lag_s)}` : "";
  return bytes(node.lag_bytes) + late;
}
