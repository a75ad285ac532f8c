/** The page's own memory of lags and of WAL written: a ring of points for each cluster, for the charts. */

const POINTS_MAX = 900;
const GAP_S = 2.5; // without news nothing changed: the last values held until then

/**
 * @typedef {object} Point
 * @property {number} at seconds
 * @property {?number} lsn of the primary
 * @property {Record<string, ?number>} lag bytes, node by node
 */

/** @type {Map<string, Point[]>} */
const rings = new Map();

/** @param {?string} lsn as PostgreSQL writes it @returns {?number} bytes */
export function position(lsn) {
  if (!lsn) return null;
  const [high, low] = lsn.split("/");
  return Number.parseInt(high, 16) * 2 ** 32 + Number.parseInt(low, 16);
}

/** Keep a state's figures. @param {import("./types.js").Cluster} state */
export function remember(state) {
  const ring = rings.get(state.cluster) ?? [];
  const at = Date.parse(state.at) / 1000;
  const before = ring.at(-1);
  if (before && at - before.at < 0.5) return;
  if (before && at - before.at > GAP_S) ring.push({ ...before, at: at - 1 });
  const primary = state.nodes.find((node) => node.name === state.primary);
  const standbys = state.nodes.filter((node) => node.name !== state.primary);
  ring.push({
    at,
    lsn: position(primary?.lsn ?? null),
    lag: Object.fromEntries(standbys.map((node) => [node.name, node.lag_bytes])),
  });
  rings.set(state.cluster, ring.slice(-POINTS_MAX));
}

/**
 * A cluster's points up to now, as columns for the charts.
 * @param {string} cluster @param {string[]} nodes
 * @param {?number} now seconds; null: to the last point only (the stream is not open)
 */
export function columns(cluster, nodes, now) {
  const ring = rings.get(cluster) ?? [];
  const newest = ring.at(-1);
  const points = newest && now && now - newest.at > GAP_S ? [...ring, { ...newest, at: now }] : ring;
  return {
    at: points.map((point) => point.at),
    rate: points.map((point, i) => rate(points[i - 1], point)),
    lags: nodes.map((name) => points.map((point) => point.lag[name] ?? null)),
  };
}

/** @param {?Point} before @param {Point} point @returns {?number} bytes a second */
function rate(before, point) {
  if (!before || before.lsn === null || point.lsn === null || point.at <= before.at) return null;
  return Math.max(0, (point.lsn - before.lsn) / (point.at - before.at));
}
