/** A window over the page. The browser keeps the focus inside and closes it on Escape. */

import { html, useEffect, useRef } from "../../vendor/preact-htm.js";
import { t } from "../i18n.js";
import { Sign } from "./icons.js";

/** @param {{title: string, close: () => void, children: unknown, wide?: boolean}} props */
export function Dialog({ title, close, children, wide = false }) {
  const ref = useRef(/** @type {?HTMLDialogElement} */ (null));
  useEffect(() => ref.current?.showModal(), []);
  return html`<dialog ref=${ref} class=${wide ? "wide" : ""} aria-labelledby="dialog-title" onClose=${close}>
    <header>
      <h2 id="dialog-title">${title}</h2>
      <button class="quiet" aria-label=${t("dialog.close")} onClick=${() => ref.current?.close()}>
        <${Sign} name="close" />
      </button>
    </header>
    ${children}
  </dialog>`;
}
