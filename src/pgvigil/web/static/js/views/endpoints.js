/** What clients connect to, drawn beside the nodes it leads to. */

import { html } from "../../vendor/preact-htm.js";
import { t, word } from "../i18n.js";
import { BOX } from "./layout.js";
import { signPath } from "./icons.js";

const PILL = { width: 120, height: 30, gap: 44, step: 40 };
const SIGNS = { ok: "ok", moving: "changing", failed: "down", unseen: "help" };
const TONES = { ok: "good", moving: "busy", failed: "bad", unseen: "dim" };

/** How much room they need on the left of a drawing. @param {import("../types.js").Endpoint[]} endpoints */
export const roomFor = (endpoints) => (endpoints.length ? PILL.width + PILL.gap : 0);

/** Where the lowest and the highest of them reach. @param {number} count @param {number} middle */
export function reach(count, middle) {
  const half = ((count - 1) * PILL.step + PILL.height) / 2;
  return count ? [middle - half, middle + half] : [middle, middle];
}

/**
 * @param {{endpoints: import("../types.js").Endpoint[], placed: import("./layout.js").Placed[], primary: ?string}} props
 *   `placed` as they stand beside the room of `roomFor`
 */
export function Endpoints({ endpoints, placed, primary }) {
  const middle = middleOf(placed, primary);
  return endpoints.map((each, i) => {
    const y = middle + (i - (endpoints.length - 1) / 2) * PILL.step;
    const target = placed.find((one) => one.node.name === each.primary);
    return html`<${Pill} key=${each.name} endpoint=${each} y=${y} target=${target} />`;
  });
}

/** The height at which they are drawn. @param {import("./layout.js").Placed[]} placed @param {?string} primary */
export function middleOf(placed, primary) {
  const at = placed.find((one) => one.node.name === primary) ?? placed[0];
  return (at?.y ?? 0) + BOX.height / 2;
}

/** @param {{endpoint: import("../types.js").Endpoint, y: number, target?: import("./layout.js").Placed}} props */
function Pill({ endpoint, y, target }) {
  const state = /** @type {keyof typeof TONES} */ (endpoint.state);
  const end = target ? target.y + BOX.height / 2 : 0;
  const right = PILL.width + (target?.x ?? 0) + PILL.gap;
  return html`<g class=${`endpoint tone-${TONES[state] ?? "dim"}`} data-endpoint=${endpoint.name} data-state=${endpoint.state}>
    ${target && html`<path class="way" d=${`M${PILL.width} ${y}C${PILL.width + 26} ${y} ${right - 26} ${end} ${right} ${end}`} />`}
    <rect x="0" y=${y - PILL.height / 2} width=${PILL.width} height=${PILL.height} rx=${PILL.height / 2} />
    <path class="mark" transform=${`translate(11 ${y - 7}) scale(0.875)`} d=${signPath(SIGNS[state] ?? "help")} />
    <text x="32" y=${y + 4.5}>${endpoint.name.slice(0, 12)}</text>
    <title>${`${endpoint.name}: ${word("endpoint", endpoint.state)} ${endpoint.detail} ${endpoint.hint}`}</title>
  </g>`;
}

/** One in words. @param {import("../types.js").Endpoint} endpoint */
export function endpointWords(endpoint) {
  const to = endpoint.primary ?? t("fact.nobody");
  return endpoint.state === "ok" ? `${endpoint.name} → ${to}` : `${endpoint.name} → ${to} (${word("endpoint", endpoint.state)})`;
}
