/** Why something was decided: evidence, the rule, what was seen of each node, what else was weighed. */

import { html } from "../../vendor/preact-htm.js";
import { duration } from "../format.js";
import { t } from "../i18n.js";
import { Hint } from "./hint.js";

/** @param {{event: import("../types.js").Happening, why: any}} props */
export function Why({ event, why }) {
  const evidence = why?.explained?.evidence?.length ? why.explained.evidence : event.evidence;
  return html`<div class="why">
    ${evidence.length > 0 && html`<h3>${t("why.evidence")}</h3><ul>${evidence.map((each) => html`<li>${each}</li>`)}</ul>`}
    ${event.hint && html`<${Hint} text=${event.hint} />`}
    ${!why && html`<p class="dim" role="status">${t("why.asking")}</p>`}
    ${why?.fault && html`<p class="fault">${why.fault}</p>`}
    ${why && !why.explained && !why.fault && html`<p class="dim">${t("why.none")}</p>`}
    ${why?.explained && html`<${Explained} then=${why.explained} />`}
  </div>`;
}

/** @param {{then: any}} props */
function Explained({ then }) {
  return html`
    <h3>${t("why.decided")}</h3>
    <p>${then.rule && html`<code>${then.rule}</code> `}${then.reason}</p>
    <h3>${t("why.seen")}</h3>
    <dl>${then.seen.map((each) => html`<dt>${each.node}</dt><dd>${each.words}
      ${each.last_answer_s !== null && html` <span class="dim">${t("why.answered", { time: duration(each.last_answer_s) })}</span>`}
      ${each.others.map((other) => html` <span class="dim">${other}</span>`)}</dd>`)}</dl>
    ${then.findings.length > 0 && html`<h3>${t("why.found")}</h3>
      <ul>${then.findings.map((each) => html`<li><code>${each.problem}</code> ${each.node ?? ""} <span class="dim">${each.evidence.join("; ")}</span></li>`)}</ul>`}
    ${then.weighed.length > 0 && html`<h3>${t("why.weighed")}</h3>
      <dl>${then.weighed.map((each) => html`<dt>${each.what}</dt><dd>${each.verdict}</dd>`)}</dl>`}`;
}
