/** Lag of each standby and WAL written, over the time that this page has been open. */

import * as uplot from "../../vendor/uplot.js";
import { html, useEffect, useRef } from "../../vendor/preact-htm.js";
import { bytes } from "../format.js";
import { currentLanguage, t } from "../i18n.js";
import { columns } from "../series.js";
import { useNow, useWidth } from "../use.js";

/** @type {any} Its own file says nothing of types. */
const Plot = uplot.default;
const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3], [4, 4], [12, 4]];
const HEIGHT = 168;
const TONES = ["--accent", "--busy", "--warn", "--good", "--bad", "--dim"];
const WINDOW_S = { least: 60, most: 300 };
const STEPS = Array.from({ length: 45 }, (_, i) => 2 ** (i + 4));

/** @param {string} name of a colour */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** @param {number} width @param {object[]} series @param {(value: ?number) => string} words */
function options(width, series, words) {
  const grid = { stroke: colour("--line"), width: 1 };
  const font = "11px system-ui, sans-serif";
  const axis = { stroke: colour("--dim"), grid, ticks: { show: false }, font };
  const time = new Intl.DateTimeFormat(currentLanguage(), { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, points: { size: 6 } },
    scales: { x: { range: (_, min, max) => [max - Math.min(WINDOW_S.most, Math.max(WINDOW_S.least, max - min)), max] }, y: { range: (_, __, max) => [0, niceTop(max)] } },
    axes: [
      { ...axis, size: 26, space: 90, values: (_, at) => at.map((each) => time.format(each * 1000)) },
      { ...axis, size: 62, space: 36, incrs: STEPS, values: (_, at) => at.map(words) },
    ],
    series: [{}, ...series],
  };
}

/** The next round number of bytes above; so much that noise on an idle cluster stays small. @param {?number} most */
function niceTop(most) {
  return Math.max(64 * 1024, 2 ** Math.ceil(Math.log2(Math.max(1, (most ?? 0) * 1.1))));
}

/**
 * One chart; drawn anew when its look changes, and only filled when its data does.
 * @param {{title: string, names: string[], data: (number | null)[][], words: (value: ?number) => string, filled?: boolean}} props
 */
function Chart({ title, names, data, words, filled = false }) {
  const tones = filled ? ["--busy"] : TONES;
  const frame = useRef(/** @type {?HTMLElement} */ (null));
  const plot = useRef(/** @type {any} */ (null));
  const width = useWidth(frame);
  const look = `${width} ${names.join(" ")} ${colour("--surface")} ${currentLanguage()}`;
  useEffect(() => {
    if (!width || !frame.current) return undefined;
    const series = names.map((label, i) => ({
      label,
      stroke: colour(tones[i % tones.length]),
      width: 1.75,
      dash: DASHES[i % DASHES.length],
      fill: filled ? colour("--busy-wash") : undefined,
      points: { show: false },
    }));
    plot.current = new Plot(options(width, series, words), data, frame.current);
    return () => plot.current?.destroy();
  }, [look]);
  useEffect(() => plot.current?.setData(data), [data]);
  return html`<figure class="chart">
    <figcaption><h3>${title}</h3>
      ${names.map((name, i) => html`<span class="key"><svg width="22" height="8" aria-hidden="true">
        <path d="M0 4H22" style=${{ stroke: `var(${tones[i % tones.length]})`, strokeDasharray: DASHES[i % DASHES.length].join(" ") }} /></svg>
        ${name} <b class="num">${words(data[i + 1].at(-1) ?? null)}</b></span>`)}
    </figcaption>
    <div class="plot" ref=${frame}></div>
  </figure>`;
}

/** @param {?number} rate */
const perSecond = (rate) => (rate === null ? "" : `${bytes(rate)}/s`);

/** @param {{cluster: import("../types.js").Cluster, isLive: boolean}} props */
export function Charts({ cluster, isLive }) {
  const now = useNow(1000) / 1000;
  const standbys = cluster.nodes.filter((node) => node.name !== cluster.primary).map((node) => node.name);
  const skew = Date.parse(cluster.at) / 1000;
  const { at, rate, lags } = columns(cluster.cluster, standbys, isLive ? Math.max(now, skew) : null);
  return html`<div class="charts">
    <${Chart} title=${t("chart.lag")} names=${standbys} data=${[at, ...lags]} words=${bytes} />
    <${Chart} title=${t("chart.wal")} names=${[cluster.primary ?? ""]} data=${[at, rate]} words=${perSecond} filled />
  </div>`;
}
