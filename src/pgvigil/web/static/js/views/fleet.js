/** All clusters, worst first: what needs a human stands on top, in words, with what to do. */

import { Component, html, useRef, useState } from "../../vendor/preact-htm.js";
import { bytes, since } from "../format.js";
import { HEALTHS, kindOf, needsHuman, nodeTone, toneOf, trouble, worstFirst, worstLag } from "../health.js";
import { t } from "../i18n.js";
import { useKeys, useLive } from "../use.js";
import { Hint } from "./hint.js";
import { Glyph, Sign } from "./icons.js";

/** @param {import("../types.js").Cluster} cluster @param {string} text @param {Set<string>} wanted */
function matches(cluster, text, wanted) {
  if (wanted.size && !wanted.has(cluster.health) && !(wanted.has("paused") && cluster.paused)) return false;
  const names = [cluster.cluster, ...cluster.nodes.flatMap((node) => [node.name, node.host, node.location])];
  return text.toLowerCase().split(/\s+/).every((part) => names.some((name) => name.toLowerCase().includes(part)));
}

/** The fleet in one sentence. @param {import("../types.js").Cluster[]} all */
function verdict(all) {
  const count = all.filter(needsHuman).length;
  const busy = all.filter((each) => each.health === "changing").length;
  if (!all.length) return ["note", "help", t("fleet.none")];
  if (count === 1) return ["bad", "down", t("fleet.one", { count, all: all.length })];
  if (count) return ["bad", "down", t("fleet.some", { count, all: all.length })];
  if (busy) return ["busy", "changing", t("fleet.busy", { count: busy })];
  const weak = all.filter((each) => each.health !== "ok").length;
  if (weak) return ["note", "degraded", t("fleet.weak", { count: weak, all: all.length })];
  return ["good", "ok", t("fleet.well", { all: all.length })];
}

/** One cluster. Drawn again only when its state is another one. */
class Row extends Component {
  /** @param {{cluster: import("../types.js").Cluster, lang: string}} next */
  shouldComponentUpdate(next) {
    return next.cluster !== this.props.cluster || next.lang !== this.props.lang;
  }

  /** @param {{cluster: import("../types.js").Cluster}} props */
  render({ cluster }) {
    const tone = toneOf(cluster.health);
    const lag = worstLag(cluster);
    const said = trouble(cluster);
    const hint = cluster.health === "ok" ? "" : cluster.decision.hint;
    return html`<li class=${`row tone-${tone}`} data-health=${cluster.health}>
      <a href=${`#/c/${encodeURIComponent(cluster.cluster)}`}>
        <span class="health"><${Sign} name=${cluster.health} /><span>${t(`health.${cluster.health}`)}</span></span>
        <span class="name">${cluster.cluster}</span>
        <span class="nodes">${cluster.nodes.map((node) => Dot(node, cluster))}</span>
        <span class="primary">${cluster.primary ?? t("fact.nobody")}<small>${t("fact.tl", { number: cluster.timeline ?? "?" })}</small></span>
        <span class="lag num">${lag === null ? "" : bytes(lag)}</span>
        <span class="said">
          ${cluster.paused && html`<span class="badge"><${Sign} name="paused" size=${12} />${t("badge.paused")}</span>`}
          ${cluster.standby_cluster && html`<span class="badge">${t("badge.standby_cluster")}</span>`}
          ${said}
        </span>
        ${hint && html`<${Hint} text=${hint} />`}
      </a>
    </li>`;
  }
}

/** @param {import("../types.js").Node} node @param {import("../types.js").Cluster} cluster */
function Dot(node, cluster) {
  const kind = kindOf(node, cluster);
  return html`<span class="dot" title=${`${node.name}: ${t(`kind.${kind}`)}`}><${Glyph} kind=${kind} tone=${nodeTone(kind)} /></span>`;
}

/** What happened last anywhere, that is more than information. @param {{events: import("../types.js").Happening[]}} props */
function Recent({ events }) {
  const told = events.filter((event) => event.level !== "info").slice(-6).reverse();
  if (!told.length) return null;
  return html`<section class="recent" aria-labelledby="recent">
    <h2 id="recent">${t("fleet.recent")}</h2>
    <ol>
      ${told.map((event) => html`<li key=${event.number} class=${`level-${event.level}`}>
        <time datetime=${event.at}>${since(event.at)}</time>
        <a href=${`#/c/${encodeURIComponent(event.cluster)}`}>${event.cluster}</a>
        <span>${event.text}</span>
      </li>`)}
    </ol>
  </section>`;
}

/** @param {{all: import("../types.js").Cluster[], wanted: Set<string>, toggle: (health: string) => void}} props */
function Filters({ all, wanted, toggle }) {
  const paused = all.filter((each) => each.paused).length;
  return html`<div class="filters" role="group" aria-label=${t("fleet.filter")}>
    ${[...HEALTHS, "paused"].map((health) => {
      const count = health === "paused" ? paused : all.filter((each) => each.health === health).length;
      if (!count && !wanted.has(health)) return null;
      return html`<button class=${`chip tone-${toneOf(health)}`} aria-pressed=${wanted.has(health)} data-filter=${health} onClick=${() => toggle(health)}>
        <${Sign} name=${health} size=${13} />${t(`health.${health}`)} <b>${count}</b>
      </button>`;
    })}
  </div>`;
}

/** @param {number} step */
function move(step) {
  const rows = /** @type {HTMLElement[]} */ ([...document.querySelectorAll(".row a")]);
  const at = rows.indexOf(/** @type {HTMLElement} */ (document.activeElement));
  rows[Math.min(rows.length - 1, Math.max(0, at + step))]?.focus();
}

/** The page. */
export function Fleet() {
  const { clusters, events } = useLive();
  const [text, setText] = useState("");
  const [wanted, setWanted] = useState(/** @type {Set<string>} */ (new Set()));
  const field = useRef(/** @type {?HTMLInputElement} */ (null));
  useKeys({ "/": () => field.current?.focus(), j: () => move(1), k: () => move(-1) });
  const all = worstFirst(clusters.values());
  const shown = all.filter((cluster) => matches(cluster, text.trim(), wanted));
  const toggle = (/** @type {string} */ health) => {
    const next = new Set(wanted);
    if (!next.delete(health)) next.add(health);
    setWanted(next);
  };
  const escape = (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== "Escape") return;
    setText("");
    field.current?.blur();
  };
  const [tone, sign, sentence] = verdict(all);
  return html`<main id="main" class="fleet" tabindex="-1">
    <h1 class=${`verdict tone-${tone}`}><${Sign} name=${sign} size=${26} />${sentence}</h1>
    <div class="tools">
      <label class="search">
        <${Sign} name="search" />
        <input ref=${field} type="search" placeholder=${t("fleet.search")} aria-label=${t("fleet.search")} value=${text}
          onInput=${(/** @type {any} */ e) => setText(e.target.value)} onKeyDown=${escape} />
        <kbd aria-hidden="true">/</kbd>
      </label>
      <${Filters} all=${all} wanted=${wanted} toggle=${toggle} />
      <span class="grow"></span>
      ${shown.length !== all.length && html`<span class="dim" role="status">${t("fleet.shown", { count: shown.length, all: all.length })}</span>`}
    </div>
    <div class="heads" aria-hidden="true">
      <span>${t("column.health")}</span><span>${t("column.cluster")}</span><span>${t("column.nodes")}</span>
      <span>${t("column.primary")}</span><span class="num">${t("column.lag")}</span><span>${t("column.said")}</span>
    </div>
    <ul class="rows">
      ${shown.map((cluster) => html`<${Row} key=${cluster.cluster} cluster=${cluster} lang=${document.documentElement.lang} />`)}
    </ul>
    ${!shown.length && all.length > 0 && html`<p class="empty">${t("fleet.nothing")}</p>`}
    <${Recent} events=${events} />
  </main>`;
}
