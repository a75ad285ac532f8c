/** One command from its choice to its outcome: fields, the plan, the confirmation, progress. */

import { html, useEffect, useRef, useState } from "../../vendor/preact-htm.js";
import { carryOut, rehearse } from "../api.js";
import { t } from "../i18n.js";
import { live } from "../live.js";
import { bodyOf, whyNot } from "./actions.js";
import { Dialog } from "./dialog.js";
import { Sign } from "./icons.js";

const MINUTES = ["", "15", "60", "240", "1440"];
const METHODS = ["auto", "start", "rewind", "clone"];

/** @param {{action: import("./actions.js").Action & {target?: string}, node: string, cluster: import("../types.js").Cluster, close: () => void}} props */
export function Order({ action, node, cluster, close }) {
  const [values, setValues] = useState(/** @type {Record<string, string | boolean>} */ ({}));
  const [plan, setPlan] = useState(/** @type {?import("../types.js").Outcome} */ (null));
  const [fault, setFault] = useState(/** @type {any} */ (null));
  const [lines, setLines] = useState(/** @type {string[]} */ ([]));
  const [outcome, setOutcome] = useState(/** @type {?import("../types.js").Outcome} */ (null));
  const [runs, setRuns] = useState(false);
  const asked = useRef(0);
  const [typed, setTyped] = useState("");
  const denied = whyNot(live.caller);
  const isRisky = action.command === "failover" && Boolean(values.force);
  const lacks = action.fields.some(({ name, kind }) => kind === "other" && !values[name]);
  const body = bodyOf(action, node, values);
  const begun = runs || outcome !== null || lines.length > 0;
  const leave = useRef(/** @type {?HTMLButtonElement} */ (null));
  useEffect(() => {
    if (denied || lacks || begun) return;
    const number = ++asked.current;
    setPlan(null);
    setFault(null);
    rehearse(cluster.cluster, action.command, body).then(
      (found) => number === asked.current && setPlan(found),
      (error) => number === asked.current && setFault(error),
    );
  }, [JSON.stringify(values), denied, worldOf(cluster)]);
  useEffect(() => begun && leave.current?.focus(), [begun]); // the button that was pressed is gone
  const go = async () => {
    asked.current += 1; // a plan that still comes is not wanted any more
    setRuns(true);
    setLines([]);
    try {
      setOutcome(await carryOut(cluster.cluster, action.command, body, (line) => setLines((all) => [...all, line])));
    } catch (error) {
      setFault(error);
    }
    setRuns(false);
  };
  const set = (/** @type {string} */ name, /** @type {string | boolean} */ value) => setValues({ ...values, [name]: value });
  return html`<${Dialog} title=${t(`do.${action.id}`, { node })} close=${close} wide>
    <p class="dim">${t(`about.${action.id}`, { node, cluster: cluster.cluster })}</p>
    ${denied && html`<p class="fault" role="alert"><${Sign} name="key" /> ${denied}</p>`}
    ${!denied && !begun && html`<${Fields} action=${action} node=${node} cluster=${cluster} values=${values} set=${set} />`}
    ${!denied && !begun && !lacks && html`<${Plan} plan=${plan} fault=${fault} />`}
    ${!denied && !begun && isRisky && html`<label class="field"><span>${t("field.confirm", { cluster: cluster.cluster })}</span>
      <input name="confirm" autocomplete="off" spellcheck=${false} value=${typed} onInput=${(/** @type {any} */ e) => setTyped(e.target.value)} /></label>`}
    ${begun && html`<${Progress} lines=${lines} runs=${runs} outcome=${outcome} fault=${fault} />`}
    <footer>
      <button type="button" ref=${leave} onClick=${close}>${begun ? t("dialog.close") : t("dialog.cancel")}</button>
      ${!begun && html`<button type="button" class=${`main ${action.danger ? "danger" : ""}`} data-confirm
        disabled=${Boolean(denied) || lacks || plan?.result !== "planned" || (isRisky && typed !== cluster.cluster)} onClick=${go}>
        ${t(`do.${action.id}`, { node })}</button>`}
    </footer>
  <//>`;
}

/** What a plan rests on: when it changes, the plan is asked for again. @param {import("../types.js").Cluster} cluster */
function worldOf(cluster) {
  const nodes = cluster.nodes.map((node) => `${node.name} ${node.state} ${node.upstream} ${node.maintenance}`);
  return [cluster.health, cluster.phase, cluster.primary, cluster.paused, ...nodes].join("; ");
}

/** @param {{plan: ?import("../types.js").Outcome, fault: any}} props */
function Plan({ plan, fault }) {
  if (fault) return html`<${Said} tone="bad" text=${fault.message || t("link.unreachable")} detail=${fault.detail} hint=${fault.hint} />`;
  if (!plan) return html`<p class="dim" role="status">${t("plan.asking")}</p>`;
  if (plan.result !== "planned") return html`<${Said} tone="warn" text=${plan.text} detail=${plan.detail} hint=${plan.hint} />`;
  return html`<section class="plan" aria-live="polite">
    <h3>${t("plan.title")}</h3>
    <p>${plan.text}${plan.detail && html` <span class="dim">${plan.detail}</span>`}</p>
    <ol>${plan.plan.filter((step) => step !== plan.text).map((step) => html`<li>${step}</li>`)}</ol>
  </section>`;
}

/** @param {{tone: string, text: string, detail?: string, hint?: string}} props */
function Said({ tone, text, detail, hint }) {
  return html`<div class=${`outcome tone-${tone}`} role="alert">
    <${Sign} name=${tone === "good" ? "ok" : tone === "bad" ? "down" : "degraded"} />
    <div><b>${text}</b>${detail && html`<p>${detail}</p>`}${hint && html`<p class="dim">${hint}</p>`}</div>
  </div>`;
}

/** @param {{lines: string[], runs: boolean, outcome: ?import("../types.js").Outcome, fault: any}} props */
function Progress({ lines, runs, outcome, fault }) {
  const tone = outcome?.result === "done" ? "good" : outcome?.result === "failed" ? "bad" : "warn";
  return html`<section class="progress" aria-live="polite">
    <ol>${lines.map((line, i) => html`<li key=${i}>${line}</li>`)}</ol>
    ${runs && html`<p class="dim"><${Sign} name="changing" size=${13} /> ${t("order.runs")}</p>`}
    ${outcome && html`<div data-outcome=${outcome.result}><${Said} tone=${tone} text=${outcome.text} detail=${outcome.detail} hint=${outcome.hint} /></div>`}
    ${fault && html`<${Said} tone="bad" text=${fault.message || t("order.lost")} detail=${fault.detail} hint=${fault.hint} />`}
  </section>`;
}

/** @param {{action: import("./actions.js").Action, node: string, cluster: import("../types.js").Cluster, values: Record<string, any>, set: (name: string, value: any) => void}} props */
function Fields({ action, node, cluster, values, set }) {
  if (!action.fields.length) return null;
  const standbys = cluster.nodes.filter((each) => each.name !== cluster.primary);
  const choices = {
    standby: [["", t("field.best")], ...standbys.map((each) => [each.name, each.name])],
    other: [["", t("field.choose")], ...cluster.nodes.filter((each) => each.name !== node).map((each) => [each.name, each.name])],
    method: METHODS.map((each) => [each === "auto" ? "" : each, t(`method.${each}`)]),
    minutes: MINUTES.map((each) => [each, t(`minutes.${each || "open"}`)]),
    role: [["", t("field.all")], ["standby", t("field.standbys")], ["primary", t("field.primary")]],
  };
  return html`<div class="fields">
    ${action.fields.map(({ name, kind }) => kind === "flag"
      ? html`<label class="field check"><input type="checkbox" name=${name} checked=${Boolean(values[name])}
          onChange=${(/** @type {any} */ e) => set(name, e.target.checked)} /><span>${t(`flag.${action.id}.${name}`)}</span></label>`
      : html`<label class="field"><span>${t(`field.${name}`)}</span>
          <select name=${name} value=${values[name] ?? ""} onChange=${(/** @type {any} */ e) => set(name, e.target.value)}>
            ${choices[kind].map(([value, text]) => html`<option value=${value}>${text}</option>`)}
          </select></label>`)}
  </div>`;
}
