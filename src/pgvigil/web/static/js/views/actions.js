/**
 * What an operator can order from the page: a row for each, with its fields and when it fits.
 * The names of commands and fields are the API's (`POST /clusters/C/COMMAND`).
 */

import { t } from "../i18n.js";

/**
 * @typedef {object} Field
 * @property {string} name
 * @property {"standby" | "other" | "flag" | "method" | "minutes" | "role"} kind
 *
 * @typedef {object} Action
 * @property {string} id
 * @property {string} command
 * @property {Field[]} fields
 * @property {boolean} [danger] it may lose something, or interrupt
 * @property {Record<string, unknown>} [given] fields with fixed values
 * @property {(cluster: import("../types.js").Cluster) => boolean} [offered]
 */

/** @type {Action[]} */
export const CLUSTER_ACTIONS = [
  { id: "switchover", command: "switchover", fields: [{ name: "to", kind: "standby" }] },
  {
    id: "failover", command: "failover", danger: true,
    fields: [{ name: "to", kind: "standby" }, { name: "force", kind: "flag" }],
  },
  { id: "pause", command: "pause", fields: [{ name: "until", kind: "minutes" }], offered: (c) => !c.paused },
  { id: "resume", command: "resume", fields: [], offered: (c) => c.paused },
  {
    id: "restart", command: "restart-servers", danger: true,
    fields: [{ name: "role", kind: "role" }, { name: "pending", kind: "flag" }],
  },
  { id: "reload", command: "reload-servers", fields: [] },
  { id: "drill", command: "drill", danger: true, fields: [{ name: "to", kind: "standby" }] },
];

/**
 * @typedef {Action & {target: "node" | "nodes" | "to", fits: (node: import("../types.js").Node, cluster: import("../types.js").Cluster) => boolean}} NodeAction
 *
 * @type {NodeAction[]}
 */
export const NODE_ACTIONS = [
  { id: "switchover_to", command: "switchover", target: "to", fields: [], fits: isSound },
  {
    id: "rejoin", command: "rejoin", target: "node", danger: true,
    fields: [{ name: "method", kind: "method" }, { name: "force", kind: "flag" }],
    fits: (node, cluster) => node.name !== cluster.primary,
  },
  { id: "maintenance_on", command: "maintenance", target: "node", fields: [], given: { on: true },
    fits: (node, cluster) => node.name !== cluster.primary && !node.maintenance },
  { id: "maintenance_off", command: "maintenance", target: "node", fields: [], given: { on: false },
    fits: (node) => node.maintenance },
  { id: "follow", command: "follow", target: "node", fields: [{ name: "upstream", kind: "other" }], fits: isSound },
  { id: "restart_node", command: "restart-servers", target: "nodes", danger: true, fields: [],
    fits: (node) => node.role !== "unknown" },
  { id: "reload_node", command: "reload-servers", target: "nodes", fields: [], fits: (node) => node.role !== "unknown" },
  { id: "promote", command: "promote", target: "node", danger: true, fields: [],
    fits: (node, cluster) => node.role === "standby" && node.name !== cluster.primary },
];

/** @param {import("../types.js").Node} node @param {import("../types.js").Cluster} cluster */
function isSound(node, cluster) {
  return node.role === "standby" && node.name !== cluster.primary;
}

/** Why this visitor may not order; empty: he may. @param {{name: ?string, access: ?string}} caller */
export function whyNot(caller) {
  if (caller.access === "operator") return "";
  return caller.name ? t("access.viewer_only", { name: caller.name }) : t("access.token_needed");
}

/**
 * The body of a command from what was filled in.
 * @param {Action & {target?: string}} action @param {string} node @param {Record<string, string | boolean>} values
 */
export function bodyOf(action, node, values) {
  /** @type {Record<string, unknown>} */
  const body = { ...action.given };
  if (action.target) body[action.target] = action.target === "nodes" ? [node] : node;
  for (const { name, kind } of action.fields) {
    const value = values[name];
    if (kind === "flag") body[name] = Boolean(value);
    else if (kind === "minutes" && value) body[name] = new Date(Date.now() + Number(value) * 60_000).toISOString();
    else if (kind !== "minutes" && value) body[name] = value;
  }
  return body;
}
