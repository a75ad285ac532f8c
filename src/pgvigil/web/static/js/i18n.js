/** Every visible word, in the language chosen. What the controller itself says comes as it says it. */

import en from "./i18n/en.js";
import zh from "./i18n/zh.js";
import { prefer, preference } from "./session.js";

/** @type {Record<string, Record<string, string>>} */
const DICTIONARIES = { en, zh };

const guess = navigator.language.startsWith("zh") ? "zh" : "en";
let language = preference("language", guess) in DICTIONARIES ? preference("language", guess) : guess;
document.documentElement.lang = language;

/** @returns {string} `en` or `zh` */
export const currentLanguage = () => language;

/** Speak the other one from now on. */
export function nextLanguage() {
  language = language === "en" ? "zh" : "en";
  prefer("language", language);
  document.documentElement.lang = language;
}

/**
 * The text of a key; `{name}` stands for a value. A key that is not there is a fault, and shown as itself.
 * @param {string} key @param {Record<string, string | number>} [values]
 */
export function t(key, values = {}) {
  const text = DICTIONARIES[language][key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

/** A controller's word, translated where the dictionary has it. @param {string} group @param {?string} word */
export function word(group, word) {
  if (!word) return "";
  return DICTIONARIES[language][`${group}.${word}`] ?? word;
}
