/** Shapes: every state has its own, so that none rests on colour alone. Text stands beside each. */

import { html } from "../../vendor/preact-htm.js";

/** @type {Record<string, string>} */
const SIGNS = {
  ok: "M3.5 8.5l3 3 6-7",
  degraded: "M8 2.5l6 11H2zM8 6.5v3.5M8 11.8v.4",
  changing: "M3 6.5a5.3 5.3 0 0 1 9.5-1.5M13 9.5a5.3 5.3 0 0 1-9.5 1.5M12.8 2v3.2H9.6M3.2 14v-3.2h3.2",
  held: "M5.5 3v10M10.5 3v10",
  down: "M3.5 3.5l9 9M12.5 3.5l-9 9",
  paused: "M5.5 3v10M10.5 3v10",
  link: "M2 8h12M9.5 3.5L14 8l-4.5 4.5",
  key: "M9 7l5-5M11.5 4.5l2 2M9.5 9.5a3 3 0 1 1-3-3 3 3 0 0 1 3 3z",
  sun: "M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M13 3l-1 1M4 12l-1 1",
  moon: "M13 9.5A5.5 5.5 0 0 1 6.5 3 5.5 5.5 0 1 0 13 9.5z",
  auto: "M8 2a6 6 0 1 0 0 12zM8 2a6 6 0 0 1 0 12",
  search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM10.5 10.5L14 14",
  close: "M4 4l8 8M12 4l-8 8",
  more: "M5.5 3l5 5-5 5",
  help: "M5.5 6a2.5 2.5 0 1 1 3.5 2.3c-.7.3-1 .8-1 1.7M8 12.5v.3",
};

/** The shape of a sign in a square of 16. @param {string} name */
export const signPath = (name) => SIGNS[name] ?? SIGNS.help;

/** @param {{name: string, size?: number}} props */
export function Sign({ name, size = 16 }) {
  return html`<svg class="sign" width=${size} height=${size} viewBox="0 0 16 16" aria-hidden="true">
    <path d=${signPath(name)} />
  </svg>`;
}

/** Node shapes, drawn around 0,0 with a radius of 6. */
const GLYPHS = {
  primary: html`<path class="solid" d="M0-6.5L6.5 0 0 6.5-6.5 0z" />`,
  leader: html`<path d="M0-6L6 0 0 6-6 0z" /><circle class="solid" r="2" />`,
  sync: html`<circle r="5.5" /><circle class="solid" r="2.8" />`,
  standby: html`<circle r="5" />`,
  loose: html`<circle r="5" class="dashed" /><path d="M-5 5L5-5" />`,
  failed: html`<path d="M-4.5-4.5l9 9M4.5-4.5l-9 9" class="thick" />`,
  wrong: html`<path d="M0-6L6.5 5.5h-13z" /><path d="M0-2v3M0 3v.5" />`,
  working: html`<circle r="5" class="faint" /><path d="M0-5a5 5 0 0 1 5 5" class="thick" />`,
  unknown: html`<path d="M-2.5-2a2.5 2.5 0 1 1 3.5 2.3C.3.6 0 1.2 0 2M0 4.8v.4" />`,
};

/** A node's shape as part of a drawing. @param {{kind: string}} props */
export function glyph({ kind }) {
  return GLYPHS[/** @type {keyof typeof GLYPHS} */ (kind)] ?? GLYPHS.unknown;
}

/** A node's shape on its own. @param {{kind: string, tone: string}} props */
export function Glyph({ kind, tone }) {
  return html`<svg class="glyph tone-${tone}" width="16" height="16" viewBox="-8 -8 16 16" aria-hidden="true">
    ${glyph({ kind })}
  </svg>`;
}
