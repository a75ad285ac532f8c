/** Where a visitor says who he is. */

import { html, useState } from "../../vendor/preact-htm.js";
import { said } from "../api.js";
import { t } from "../i18n.js";
import { enter, live } from "../live.js";
import { token } from "../session.js";
import { Dialog } from "./dialog.js";

/** @param {{close: () => void}} props */
export function TokenDialog({ close }) {
  const [secret, setSecret] = useState("");
  const [fault, setFault] = useState("");
  /** @param {string} wanted */
  const go = async (wanted) => {
    try {
      await enter(wanted);
      close();
    } catch (error) {
      setFault(said(error) || t("link.unreachable"));
    }
  };
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    go(secret.trim());
  };
  const who = live.caller.name;
  return html`<${Dialog} title=${t("token.title")} close=${close}>
    <form onSubmit=${submit}>
      <p>${who ? t("token.known", { name: who, access: t(`access.${live.caller.access}`) }) : t("token.explain")}</p>
      <label class="field">
        <span>${t("token.label")}</span>
        <input type="password" name="token" autocomplete="off" spellcheck=${false} autofocus required
          value=${secret} onInput=${(/** @type {any} */ e) => setSecret(e.target.value)} />
      </label>
      <p class="dim">${t("token.kept")} <code>pgvigil token add NAME --access operator</code></p>
      ${fault && html`<p class="fault" role="alert">${fault}</p>`}
      <footer>
        ${token() && html`<button type="button" onClick=${() => go("")}>${t("token.forget")}</button>`}
        <button class="main" type="submit">${t("token.use")}</button>
      </footer>
    </form>
  <//>`;
}

/** The whole page, while the controller lets nobody in without a token. */
export function Locked() {
  const [secret, setSecret] = useState("");
  const [fault, setFault] = useState("");
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    try {
      await enter(secret.trim());
    } catch (error) {
      setFault(said(error) || t("link.unreachable"));
    }
  };
  return html`<main class="locked">
    <form class="panel" onSubmit=${submit}>
      <h1>${t("locked.title")}</h1>
      <p>${t("locked.explain")}</p>
      <label class="field">
        <span>${t("token.label")}</span>
        <input type="password" name="token" autocomplete="off" autofocus required value=${secret}
          onInput=${(/** @type {any} */ e) => setSecret(e.target.value)} />
      </label>
      <p class="dim">${t("token.kept")} <code>pgvigil token add NAME</code></p>
      ${fault && html`<p class="fault" role="alert">${fault}</p>`}
      <button class="main" type="submit">${t("token.use")}</button>
    </form>
  </main>`;
}
