/** The nodes as a table, each with what can be done to it. */

import { html } from "../../vendor/preact-htm.js";
import { lag, since } from "../format.js";
import { kindOf, nodeTone } from "../health.js";
import { t, word } from "../i18n.js";
import { Glyph } from "./icons.js";
import { NODE_ACTIONS } from "./actions.js";

/** @param {{cluster: import("../types.js").Cluster, choose: (action: string, node: string) => void}} props */
export function Nodes({ cluster, choose }) {
  const heads = ["node", "state", "upstream", "sync", "lag", "tl", "lsn", "address", "version", "seen"];
  return html`<div class="scroll" role="region" aria-label=${t("nodes.title")} tabindex="0"><table class="nodes">
    <thead><tr>
      ${heads.map((head) => html`<th scope="col" class=${head === "lag" || head === "tl" || head === "lsn" ? "num" : ""}>${t(`column.${head}`)}</th>`)}
      <th><span class="hidden">${t("column.actions")}</span></th>
    </tr></thead>
    <tbody>${cluster.nodes.map((node) => html`<${Row} key=${node.name} node=${node} cluster=${cluster} choose=${choose} />`)}</tbody>
  </table></div>`;
}

/** @param {{node: import("../types.js").Node, cluster: import("../types.js").Cluster, choose: (action: string, node: string) => void}} props */
function Row({ node, cluster, choose }) {
  const kind = kindOf(node, cluster);
  const seen = node.last_seen_s === null ? t("nodes.never") : node.last_seen_s < 3 ? t("nodes.now") : since(new Date(Date.now() - node.last_seen_s * 1000).toISOString());
  const notes = [node.progress, node.detail, ...node.pending_restart.map((name) => t("nodes.pending", { name }))].filter(Boolean);
  const chosen = (/** @type {any} */ event) => {
    const action = event.target.value;
    event.target.value = "";
    if (action) choose(action, node.name);
  };
  return html`<tr class=${`tone-${nodeTone(kind)}`} data-node=${node.name}>
    <th scope="row"><span class="cell"><${Glyph} kind=${kind} tone=${nodeTone(kind)} />${node.name}</span></th>
    <td><span class="state">${word("state", node.state)}</span>
      ${node.maintenance && html`<span class="badge">${t("badge.maintenance")}</span>`}
      ${node.tags.map((tag) => html`<span class="badge">${tag}</span>`)}
      ${notes.map((note) => html`<small class="note">${note}</small>`)}</td>
    <td>${node.upstream ?? ""}</td>
    <td>${word("sync", node.sync_state)}</td>
    <td class="num">${node.role === "standby" ? lag(node) : ""}</td>
    <td class="num">${node.timeline ?? ""}</td>
    <td class="num mono">${node.lsn ?? ""}</td>
    <td class="mono">${`${node.host}:${node.port}`}</td>
    <td>${node.server_version ?? ""}</td>
    <td>${seen}</td>
    <td class="do"><select aria-label=${t("nodes.do", { node: node.name })} onChange=${chosen}>
      <option value="">${t("nodes.choose")}</option>
      ${NODE_ACTIONS.filter((action) => action.fits(node, cluster)).map((action) => html`<option value=${action.id}>${t(`action.${action.id}`)}</option>`)}
    </select></td>
  </tr>`;
}
