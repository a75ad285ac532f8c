/** The keys and the shapes, explained. */

import { html } from "../../vendor/preact-htm.js";
import { t } from "../i18n.js";
import { nodeTone } from "../health.js";
import { Dialog } from "./dialog.js";
import { Glyph } from "./icons.js";

const KEYS = ["/", "j", "k", "Enter", "Esc", "s", "p", "d", "?"];
const KINDS = ["primary", "leader", "sync", "standby", "loose", "working", "unknown", "failed", "wrong"];

/** @param {{close: () => void}} props */
export function Help({ close }) {
  return html`<${Dialog} title=${t("help.title")} close=${close}>
    <div class="columns">
      <section>
        <h3>${t("help.keys")}</h3>
        <dl class="keys">
          ${KEYS.map((key) => html`<dt><kbd>${key}</kbd></dt><dd>${t(`key.${key}`)}</dd>`)}
        </dl>
      </section>
      <section>
        <h3>${t("help.shapes")}</h3>
        <dl class="keys">
          ${KINDS.map((kind) => html`<dt><${Glyph} kind=${kind} tone=${nodeTone(kind)} /></dt><dd>${t(`kind.${kind}`)}</dd>`)}
        </dl>
      </section>
    </div>
  <//>`;
}
