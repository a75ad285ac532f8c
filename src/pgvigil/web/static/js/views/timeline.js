/** What happened, newest first. Each event opens to its evidence, and to why it was decided so. */

import { html, useState } from "../../vendor/preact-htm.js";
import { read, said } from "../api.js";
import { clock, day } from "../format.js";
import { t } from "../i18n.js";
import { Sign } from "./icons.js";
import { Why } from "./why.js";

const SHOWN = 40;
const SIGNS = { info: "more", warning: "degraded", alert: "down" };
const TONES = { info: "dim", warning: "note", alert: "bad" };

/** @param {{events: import("../types.js").Happening[]}} props oldest first */
export function Timeline({ events }) {
  const [count, setCount] = useState(SHOWN);
  const [important, setImportant] = useState(false);
  const chosen = important ? events.filter((event) => event.level !== "info") : events;
  const told = chosen.slice(-count).reverse();
  return html`<section class="timeline panel" aria-labelledby="events">
    <header><h2 id="events">${t("events.title")}</h2>
      <label class="check"><input type="checkbox" checked=${important} onChange=${() => setImportant(!important)} />${t("events.important")}</label>
    </header>
    ${told.length === 0 && html`<p class="empty">${t("events.none")}</p>`}
    <ol>
      ${told.map((event, i) => html`
        ${(i === 0 || day(told[i - 1].at) !== day(event.at)) && html`<li class="day" key=${`d${event.number}`}>${day(event.at)}</li>`}
        <${Entry} key=${event.number} event=${event} />`)}
    </ol>
    ${chosen.length > count && html`<button onClick=${() => setCount(count + SHOWN * 2)}>${t("events.more")}</button>`}
  </section>`;
}

/** @param {{event: import("../types.js").Happening}} props */
function Entry({ event }) {
  const [isOpen, setOpen] = useState(false);
  const [why, setWhy] = useState(/** @type {any} */ (null));
  const toggle = async () => {
    setOpen(!isOpen);
    if (isOpen || why) return;
    try {
      setWhy(await read(`/clusters/${encodeURIComponent(event.cluster)}/events/${event.number}`));
    } catch (error) {
      setWhy({ event, explained: null, fault: said(error) || t("link.unreachable") });
    }
  };
  const tone = TONES[/** @type {keyof typeof TONES} */ (event.level)];
  return html`<li class=${`event tone-${tone}`} data-kind=${event.kind}>
    <button class="head" aria-expanded=${isOpen} onClick=${toggle}>
      <time datetime=${event.at}>${clock(event.at)}</time>
      <span class="level" title=${t(`level.${event.level}`)}><${Sign} name=${SIGNS[/** @type {keyof typeof SIGNS} */ (event.level)]} size=${13} /></span>
      <span class="kind mono">${event.kind}</span>
      <span class="text">${event.text}</span>
    </button>
    ${isOpen && html`<${Why} event=${event} why=${why} />`}
  </li>`;
}
