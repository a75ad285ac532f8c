/**
 * What this browser keeps: the token for as long as the tab lives, never in an address; theme and language for good.
 */

const TOKEN = "pgvigil.token";

/** @returns {string} empty: none */
export const token = () => sessionStorage.getItem(TOKEN) ?? "";

/** @param {string} secret empty: forget it */
export function keepToken(secret) {
  if (secret) sessionStorage.setItem(TOKEN, secret);
  else sessionStorage.removeItem(TOKEN);
}

/** @param {string} key @param {string} otherwise */
export const preference = (key, otherwise) => localStorage.getItem(`pgvigil.${key}`) ?? otherwise;

/** @param {string} key @param {string} value */
export const prefer = (key, value) => localStorage.setItem(`pgvigil.${key}`, value);

export const THEMES = ["auto", "light", "dark"];

/** Put the chosen theme on the page. */
export function applyTheme() {
  const theme = preference("theme", "auto");
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

/** Choose the next theme. @returns {string} its name */
export function nextTheme() {
  const next = THEMES[(THEMES.indexOf(preference("theme", "auto")) + 1) % THEMES.length];
  prefer("theme", next);
  applyTheme();
  return next;
}
