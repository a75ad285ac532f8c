/** How bad things are: the order of clusters, and the tone and shape in which a state is shown. */

/** @typedef {"good" | "note" | "warn" | "bad" | "busy" | "dim"} Tone */

/** Worst first. */
export const HEALTHS = ["down", "held", "changing", "degraded", "ok"];

/** @type {Record<string, Tone>} */
const TONES = { down: "bad", held: "warn", changing: "busy", degraded: "note", ok: "good" };

/** @param {string} health @returns {Tone} */
export const toneOf = (health) => TONES[health] ?? "dim";

/** @param {import("./types.js").Cluster} cluster */
export const needsHuman = (cluster) => cluster.health === "down" || cluster.health === "held";

/** @param {import("./types.js").Cluster} cluster lower: worse */
function rank(cluster) {
  const place = HEALTHS.indexOf(cluster.health);
  return (place < 0 ? 0 : place) * 2 + (cluster.paused ? 0 : 1);
}

const names = new Intl.Collator("en", { numeric: true });

/** @param {Iterable<import("./types.js").Cluster>} clusters @returns {import("./types.js").Cluster[]} */
export function worstFirst(clusters) {
  return [...clusters].sort((a, b) => rank(a) - rank(b) || names.compare(a.cluster, b.cluster));
}

/**
 * A node in one word, by which its shape is chosen.
 * @param {import("./types.js").Node} node @param {import("./types.js").Cluster} cluster
 * @returns {"primary" | "leader" | "sync" | "standby" | "loose" | "failed" | "wrong" | "working" | "unknown"}
 */
export function kindOf(node, cluster) {
  if (node.state.startsWith("!")) return "wrong";
  if (node.state.startsWith("-")) return "failed";
  if (node.state.startsWith("?")) return "unknown";
  if (node.progress || node.state === "rejoining" || node.state === "starting") return "working";
  if (node.role === "primary") return "primary";
  if (node.state === "* leader") return "leader";
  if (node.receiver?.status !== "streaming") return "loose";
  return isWaitedFor(node, cluster) ? "sync" : "standby";
}

/** Whether commits wait for it. @param {import("./types.js").Node} node @param {import("./types.js").Cluster} cluster */
export function isWaitedFor(node, cluster) {
  const promised = cluster.sync && cluster.sync.acks > 0 && cluster.sync.standbys.includes(node.name);
  return Boolean(promised) || node.sync_state === "sync" || node.sync_state === "quorum";
}

/** @type {Record<string, Tone>} */
const NODE_TONES = {
  primary: "good", leader: "good", sync: "good", standby: "good", loose: "warn",
  failed: "bad", wrong: "bad", working: "busy", unknown: "warn",
};

/** @param {string} kind of a node @returns {Tone} */
export const nodeTone = (kind) => NODE_TONES[kind] ?? "dim";

/** The largest lag of a standby; null: none is known. @param {import("./types.js").Cluster} cluster */
export function worstLag(cluster) {
  const lags = cluster.nodes.map((node) => node.lag_bytes).filter((lag) => lag !== null);
  return lags.length ? Math.max(...lags) : null;
}

/** What is wrong, or what is done, in one sentence. @param {import("./types.js").Cluster} cluster */
export function trouble(cluster) {
  const { decision, findings } = cluster;
  if (decision.kind !== "rest") return decision.reason;
  const finding = findings[0];
  if (finding) return `${finding.problem.replaceAll("_", " ")}${finding.node ? ` (${finding.node})` : ""}`;
  return cluster.repairs[0] ?? cluster.warnings[0] ?? "";
}
