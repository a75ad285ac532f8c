/** One cluster: what is wrong and what to do, how it is built, how it runs, what happened, what can be ordered. */

import { html, useEffect, useState } from "../../vendor/preact-htm.js";
import { moment, since } from "../format.js";
import { toneOf, trouble } from "../health.js";
import { t, word } from "../i18n.js";
import { fetchEvents } from "../live.js";
import { useKeys, useLive, useNow } from "../use.js";
import { CLUSTER_ACTIONS, NODE_ACTIONS, whyNot } from "./actions.js";
import { Charts } from "./charts.js";
import { endpointWords } from "./endpoints.js";
import { Hint } from "./hint.js";
import { Sign } from "./icons.js";
import { Nodes } from "./nodes.js";
import { Order } from "./order.js";
import { Timeline } from "./timeline.js";
import { Topology } from "./topology.js";

/** @param {{name: string}} props */
export function ClusterPage({ name }) {
  const { clusters, events, link, caller } = useLive();
  const [chosen, choose] = useState(/** @type {?{action: any, node: string}} */ (null));
  useEffect(() => {
    fetchEvents(name).catch(() => undefined); // the stream brings what comes from now on
  }, [name, link]);
  const order = (/** @type {string} */ id) => choose({ action: CLUSTER_ACTIONS.find((each) => each.id === id), node: "" });
  const cluster = clusters.get(name);
  useKeys({
    Escape: () => (location.hash = "#/"),
    s: () => order("switchover"),
    p: () => order(cluster?.paused ? "resume" : "pause"),
  });
  if (!cluster) return html`<main id="main" class="cluster" tabindex="-1"><h1>${t("cluster.unknown", { name })}</h1><a href="#/">${t("cluster.back")}</a></main>`;
  const ofNode = (/** @type {string} */ id, /** @type {string} */ node) => choose({ action: NODE_ACTIONS.find((each) => each.id === id), node });
  return html`<main id="main" class="cluster" tabindex="-1">
    <${Banner} cluster=${cluster} />
    <div class="split">
      <section class="panel" aria-labelledby="topology">
        <h2 id="topology">${t("topology.title")}</h2>
        <${Topology} cluster=${cluster} />
      </section>
      <aside class="panel">
        <h2>${t("actions.title")}</h2>
        <${Buttons} cluster=${cluster} order=${order} denied=${whyNot(caller)} />
        <${Facts} cluster=${cluster} />
      </aside>
    </div>
    <section class="panel" aria-label=${t("nodes.title")}><${Nodes} cluster=${cluster} choose=${ofNode} /></section>
    <section class="panel" aria-label=${t("chart.title")}><${Charts} cluster=${cluster} isLive=${link === "live"} /></section>
    <${Timeline} events=${events.filter((event) => event.cluster === name)} />
    ${chosen && html`<${Order} action=${chosen.action} node=${chosen.node} cluster=${cluster} close=${() => choose(null)} />`}
  </main>`;
}

/** @param {{cluster: import("../types.js").Cluster, order: (id: string) => void, denied: string}} props */
function Buttons({ cluster, order, denied }) {
  return html`<div class="buttons">
    ${CLUSTER_ACTIONS.filter((action) => action.offered?.(cluster) ?? true).map((action) => html`<button
      data-action=${action.id} aria-disabled=${denied ? "true" : undefined} title=${denied} onClick=${() => order(action.id)}>${t(`action.${action.id}`)}</button>`)}
    ${denied && html`<p class="dim"><${Sign} name="key" size=${13} /> ${denied}</p>`}
  </div>`;
}

/** @param {{cluster: import("../types.js").Cluster}} props */
function Banner({ cluster }) {
  const { decision, findings } = cluster;
  const evidence = decision.evidence.length ? decision.evidence : (findings[0]?.evidence ?? []);
  const failed = (cluster.endpoints ?? []).filter((each) => each.state === "failed").map((each) => `${each.name}: ${each.detail} ${each.hint}`);
  const rest = [...cluster.repairs, ...cluster.warnings, ...failed].filter((each) => each !== trouble(cluster));
  return html`<section class=${`banner tone-${toneOf(cluster.health)}`} role="status" data-health=${cluster.health}>
    <${Sign} name=${cluster.health} size=${30} />
    <div>
      <h1>${t(`headline.${cluster.health}`)}
        ${cluster.paused && html`<span class="badge"><${Sign} name="paused" size=${12} />${cluster.paused_until ? t("badge.paused_until", { time: moment(cluster.paused_until) }) : t("badge.paused")}</span>`}
        ${!cluster.automatic && html`<span class="badge">${t("badge.by_hand")}</span>`}
        ${cluster.standby_cluster && html`<span class="badge">${t("badge.standby_cluster_of", { name: cluster.standby_of?.name ?? "?" })}</span>`}
      </h1>
      ${trouble(cluster) && html`<p class="said">${trouble(cluster)}</p>`}
      ${decision.hint && html`<${Hint} text=${decision.hint} />`}
      ${evidence.length > 0 && html`<ul class="evidence">${evidence.map((each) => html`<li>${each}</li>`)}</ul>`}
      ${decision.kind === "act" && decision.steps.length > 0 && html`<ol class="steps">${decision.steps.map((each) => html`<li>${each}</li>`)}</ol>`}
      ${rest.length > 0 && html`<ul class="evidence">${rest.map((each) => html`<li>${each}</li>`)}</ul>`}
    </div>
  </section>`;
}

/** @param {{cluster: import("../types.js").Cluster}} props */
function Facts({ cluster }) {
  const now = useNow(10_000);
  const sync = cluster.sync;
  const rows = [
    ["primary", `${cluster.primary ?? t("fact.nobody")}${cluster.timeline ? `, ${t("fact.tl", { number: cluster.timeline })}` : ""}`],
    ["since", since(cluster.since, now)],
    ["phase", word("phase", cluster.phase)],
    ["generation", String(cluster.generation)],
    ["protection", word("protection", cluster.protection)],
    ["sync", sync && (sync.acks ? t("fact.any", { acks: sync.acks, of: sync.standbys.join(", ") }) : t("fact.unprotected"))],
    ["automatic", t(cluster.automatic ? "fact.yes" : "fact.no")],
    ["controller", cluster.controller],
    ...(cluster.endpoints ?? []).map((each) => ["endpoint", endpointWords(each)]),
    ...cluster.scheduled.map((each) => ["scheduled", `${each.what}, ${moment(each.at)}`]),
  ].filter(([, value]) => value);
  return html`<dl class="facts">${rows.map(([name, value]) => html`<dt>${t(`fact.${name}`)}</dt><dd>${value}</dd>`)}</dl>`;
}
