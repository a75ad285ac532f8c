/** Where the nodes of a drawing stand: a tree of who streams from whom, as values. Pure. */

export const BOX = { width: 168, height: 76 };
const GAP = { x: 100, widest: 240, y: 18 };
const INDENT = 34;

/**
 * @typedef {object} Placed
 * @property {import("../types.js").Node} node
 * @property {number} x
 * @property {number} y
 *
 * @typedef {object} Edge from a node to the one it streams from, or ought to
 * @property {Placed} from
 * @property {Placed} to
 * @property {boolean} streams
 */

/**
 * Whom a node streams from, or would have to.
 * @param {import("../types.js").Node} node @param {import("../types.js").Cluster} cluster @returns {?string}
 */
export function upstreamOf(node, cluster) {
  const names = new Set(cluster.nodes.map((each) => each.name));
  const wanted = node.upstream && names.has(node.upstream) ? node.upstream : (node.wanted_upstream ?? cluster.primary);
  if (node.name === cluster.primary || wanted === node.name || !wanted || !names.has(wanted)) return null;
  return wanted;
}

/**
 * Boxes and edges. @param {import("../types.js").Cluster} cluster @param {number} room width in pixels
 * @returns {{placed: Placed[], edges: Edge[], width: number, height: number, isNarrow: boolean}}
 */
export function layout(cluster, room) {
  const above = new Map(cluster.nodes.map((node) => [node.name, upstreamOf(node, cluster)]));
  const below = (/** @type {?string} */ name) => cluster.nodes.filter((node) => above.get(node.name) === name);
  /** @type {{node: import("../types.js").Node, depth: number}[]} */
  const rows = [];
  const seen = new Set();
  const walk = (/** @type {import("../types.js").Node} */ node, /** @type {number} */ depth) => {
    if (seen.has(node.name)) return;
    seen.add(node.name);
    rows.push({ node, depth });
    for (const each of below(node.name)) walk(each, depth + 1);
  };
  const roots = below(null).sort((a, b) => Number(b.name === cluster.primary) - Number(a.name === cluster.primary));
  for (const root of roots) walk(root, 0);
  for (const node of cluster.nodes) walk(node, 0); // a circle of upstreams has no root
  const deepest = Math.max(0, ...rows.map((row) => row.depth));
  const isNarrow = room < (deepest + 1) * (BOX.width + GAP.x) - GAP.x + 4;
  const gap = Math.min(GAP.widest, (room - 4 - (deepest + 1) * BOX.width) / Math.max(1, deepest));
  const drawn = isNarrow ? indented(rows) : spread(rows, above, gap);
  return { ...drawn, isNarrow, edges: edges(drawn.placed, above) };
}

/** @param {Placed[]} placed @param {Map<string, ?string>} above @returns {Edge[]} */
function edges(placed, above) {
  return placed.flatMap((from) => {
    const to = placed.find((each) => each.node.name === above.get(from.node.name));
    return to ? [{ from, to, streams: from.node.receiver?.status === "streaming" }] : [];
  });
}

/** @param {{node: import("../types.js").Node, depth: number}[]} rows */
function indented(rows) {
  const placed = rows.map(({ node, depth }, i) => ({ node, x: depth * INDENT, y: i * (BOX.height + GAP.y + 22) }));
  return measured(placed);
}

/** @param {{node: import("../types.js").Node, depth: number}[]} rows @param {Map<string, ?string>} above @param {number} gap */
function spread(rows, above, gap) {
  /** @type {Map<string, number>} */
  const ys = new Map();
  let free = 0;
  for (const { node } of [...rows].reverse()) {
    const children = rows.filter((row) => above.get(row.node.name) === node.name && ys.has(row.node.name));
    const places = children.map((row) => /** @type {number} */ (ys.get(row.node.name)));
    if (places.length) ys.set(node.name, (Math.min(...places) + Math.max(...places)) / 2);
    else ys.set(node.name, free--);
  }
  const top = Math.min(...ys.values());
  return measured(
    rows.map(({ node, depth }) => ({
      node,
      x: depth * (BOX.width + gap),
      y: (/** @type {number} */ (ys.get(node.name)) - top) * (BOX.height + GAP.y),
    })),
  );
}

/** @param {Placed[]} placed */
function measured(placed) {
  return {
    placed,
    width: Math.max(...placed.map((each) => each.x)) + BOX.width,
    height: Math.max(...placed.map((each) => each.y)) + BOX.height,
  };
}
