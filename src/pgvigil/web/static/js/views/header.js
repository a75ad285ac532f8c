/** The bar above every page: where we are, whether what is shown is live, and how it is shown. */

import { html, useState } from "../../vendor/preact-htm.js";
import { currentLanguage, nextLanguage, t } from "../i18n.js";
import { live, reconnect } from "../live.js";
import { nextTheme, preference } from "../session.js";
import { Sign } from "./icons.js";
import { TokenDialog } from "./token.js";

const THEME_SIGNS = { auto: "auto", light: "sun", dark: "moon" };

function Link() {
  const tone = { live: "good", lost: "bad", connecting: "busy", locked: "warn" }[live.link];
  const sign = { live: "ok", lost: "down", connecting: "changing", locked: "key" }[live.link];
  return html`<span class="link tone-${tone}" role="status" data-link=${live.link}>
    <${Sign} name=${sign} size=${14} /> ${t(`link.${live.link}`)}
    ${live.link === "lost" && html`<button class="inline" onClick=${reconnect}>${t("link.retry")}</button>`}
  </span>`;
}

/** @param {{cluster: ?string, redraw: () => void, help: () => void}} props */
export function Header({ cluster, redraw, help }) {
  const [asks, setAsks] = useState(false);
  const theme = preference("theme", "auto");
  const speak = () => {
    nextLanguage();
    redraw();
  };
  const light = () => {
    nextTheme();
    redraw();
  };
  const who = live.caller.name ? live.caller.name.replace(/^token /, "") : t("access.none");
  return html`<header class="bar">
    <a class="mark" href="#/">pgvigil</a>
    ${cluster && html`<span class="crumb" aria-hidden="true">/</span><span class="here">${cluster}</span>`}
    <span class="grow"></span>
    <${Link} />
    <button class="quiet" title=${t("token.title")} onClick=${() => setAsks(true)}>
      <${Sign} name="key" /><span class="who">${who}</span>
    </button>
    <button class="quiet" title=${t("theme.switch")} aria-label=${t(`theme.${theme}`)} onClick=${light}>
      <${Sign} name=${THEME_SIGNS[/** @type {keyof typeof THEME_SIGNS} */ (theme)]} />
    </button>
    <button class="quiet" lang=${currentLanguage() === "en" ? "zh" : "en"} onClick=${speak}>${t("language.other")}</button>
    <button class="quiet" title=${t("help.title")} aria-label=${t("help.title")} onClick=${help}>
      <${Sign} name="help" />
    </button>
    ${asks && html`<${TokenDialog} close=${() => setAsks(false)} />`}
  </header>`;
}
