/** Who streams from whom, drawn: roles, timelines, how commits are acknowledged, and lag on the edges. */

import { html, useRef } from "../../vendor/preact-htm.js";
import { bytes, duration } from "../format.js";
import { isWaitedFor, kindOf, nodeTone } from "../health.js";
import { t, word } from "../i18n.js";
import { useWidth } from "../use.js";
import { Endpoints, middleOf, reach, roomFor } from "./endpoints.js";
import { glyph } from "./icons.js";
import { BOX, layout } from "./layout.js";

/** @param {{cluster: import("../types.js").Cluster}} props */
export function Topology({ cluster }) {
  const frame = useRef(/** @type {?HTMLElement} */ (null));
  const room = useWidth(frame);
  const endpoints = cluster.endpoints ?? [];
  const beside = roomFor(endpoints);
  const whole = layout(cluster, (room || 900) - beside);
  const shown = whole.isNarrow ? [] : endpoints; // where there is no room they stand among the facts alone
  const { placed, edges, width, height, isNarrow } = whole.isNarrow ? layout(cluster, room || 900) : whole;
  const left = shown.length ? beside : 0;
  const [top, bottom] = reach(shown.length, middleOf(placed, cluster.primary));
  const from = Math.min(0, top) - 2;
  const tall = Math.max(height, bottom) - from + 2;
  return html`<div class="drawing" ref=${frame}>
    <svg role="img" aria-label=${told(cluster)} viewBox=${`${-2 - left} ${from} ${width + left + 4} ${tall}`} width=${width + left + 4} height=${tall}>
      <g transform=${`translate(${-left} 0)`}><${Endpoints} endpoints=${shown} placed=${placed} primary=${cluster.primary} /></g>
      ${edges.map((edge) => html`<${Stream} key=${`e-${edge.from.node.name}`} edge=${edge} cluster=${cluster} isNarrow=${isNarrow} />`)}
      ${placed.map((each) => html`<${Box} key=${each.node.name} placed=${each} cluster=${cluster} />`)}
    </svg>
  </div>`;
}

/** The same in words, for who cannot see it. @param {import("../types.js").Cluster} cluster */
function told(cluster) {
  const each = cluster.nodes.map((node) => `${node.name}: ${t(`kind.${kindOf(node, cluster)}`)}`);
  return `${t("topology.title")}. ${each.join("; ")}`;
}

/** @param {{placed: import("./layout.js").Placed, cluster: import("../types.js").Cluster}} props */
function Box({ placed, cluster }) {
  const { node, x, y } = placed;
  const kind = kindOf(node, cluster);
  const tone = nodeTone(kind);
  const marks = [
    node.maintenance && t("badge.maintenance"),
    ...node.tags,
    node.pending_restart.length > 0 && t("badge.pending_restart"),
  ].filter(Boolean);
  return html`<g class=${`node kind-${kind} tone-${tone}`} data-node=${node.name} data-kind=${kind} style=${{ transform: `translate(${x}px, ${y}px)` }}>
    <rect class="box" width=${BOX.width} height=${BOX.height} rx="8" />
    <g class="shape" transform="translate(20 22)">${glyph({ kind })}</g>
    <text class="title" x="36" y="27">${node.name}</text>
    <text class="tl" x=${BOX.width - 12} y="27" text-anchor="end">${node.timeline ? t("fact.tl", { number: node.timeline }) : ""}</text>
    <text class="kind" x="14" y="47">${fit(doing(node) || t(`kind.${kind}`), 22)}</text>
    <text class="small" x="14" y="65">${fit(marks.length ? marks.join(", ") : node.location || `${node.host}:${node.port}`, 24)}</text>
    <title>${`${node.name} · ${word("state", node.state)}${node.detail ? ` · ${node.detail}` : ""}`}</title>
  </g>`;
}

/** What is being done to a node, short. @param {import("../types.js").Node} node */
function doing(node) {
  const copied = /\((\d+) %\)/.exec(node.progress);
  return copied ? t("progress.copied", { percent: copied[1] }) : node.progress;
}

/** @param {string} text @param {number} most */
const fit = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

/** @param {{edge: import("./layout.js").Edge, cluster: import("../types.js").Cluster, isNarrow: boolean}} props */
function Stream({ edge, cluster, isNarrow }) {
  const { from, to, streams } = edge;
  const waits = isWaitedFor(from.node, cluster);
  const state = streams ? (waits ? "sync" : "async") : "cut";
  const middle = from.y + BOX.height / 2;
  const start = to.y + BOX.height / 2;
  const right = to.x + BOX.width;
  const bend = right + 44;
  const path = isNarrow
    ? `M${to.x + 16} ${to.y + BOX.height}V${middle - 8}q0 8 8 8H${from.x}`
    : `M${right} ${start}C${bend} ${start} ${right + 10} ${middle} ${bend} ${middle}H${from.x}`;
  const [x, y] = isNarrow ? [from.x + 6, from.y - 7] : [from.x - 10, middle - 7];
  return html`<g class=${`stream stream-${state}`} data-stream=${from.node.name}>
    <path d=${path} />
    <text x=${x} y=${y} text-anchor=${isNarrow ? "start" : "end"}>${t(`stream.${state}`)}</text>
    <text class="lag" x=${isNarrow ? x + 160 : x} y=${isNarrow ? y : y + 20} text-anchor=${isNarrow ? "end" : "end"}>${lagWords(from.node, streams)}</text>
  </g>`;
}

/** @param {import("../types.js").Node} node @param {boolean} streams */
function lagWords(node, streams) {
  if (!streams || node.lag_bytes === null) return "";
  return node.lag_s && node.lag_s >= 0.1 ? `${bytes(node.lag_bytes)}, ${duration(node.lag_s)}` : bytes(node.lag_bytes);
}
