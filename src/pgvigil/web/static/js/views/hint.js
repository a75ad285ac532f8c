/** What to do, as the controller says it; options of commands are kept in one piece. */

import { html } from "../../vendor/preact-htm.js";
import { t } from "../i18n.js";

/** @param {{text: string}} props */
export function Hint({ text }) {
  const parts = text.split(/(--[\w-]+)/);
  return html`<span class="hint"><b>${t("hint.do")}</b> ${parts.map((part) =>
    part.startsWith("--") ? html`<span class="whole">${part}</span>` : part)}</span>`;
}
