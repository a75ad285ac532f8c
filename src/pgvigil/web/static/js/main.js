/** Starts the page, and shows what its address names: `#/` the fleet, `#/c/NAME` one cluster. */

import { html, render, useEffect, useState } from "../vendor/preact-htm.js";
import { t } from "./i18n.js";
import { run } from "./live.js";
import { applyTheme, nextTheme } from "./session.js";
import { useKeys, useLive } from "./use.js";
import { ClusterPage } from "./views/cluster.js";
import { Fleet } from "./views/fleet.js";
import { Header } from "./views/header.js";
import { Help } from "./views/help.js";
import { Locked } from "./views/token.js";

/** @returns {?string} the cluster that the address names */
function named() {
  const match = /^#\/c\/(.+)$/.exec(location.hash);
  return match ? decodeURIComponent(match[1]) : null;
}

function usePlace() {
  const [place, go] = useState(named());
  useEffect(() => {
    const moved = () => {
      go(named());
      scrollTo(0, 0);
    };
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  return place;
}

/** @param {ReturnType<typeof useLive>} now @param {?string} place */
function page(now, place) {
  if (now.link === "locked") return html`<${Locked} />`;
  if (!now.loaded) return html`<main class="locked"><p role="status">${t(`link.${now.link}`)}</p></main>`;
  return place ? html`<${ClusterPage} name=${place} key=${place} />` : html`<${Fleet} />`;
}

function Page() {
  const now = useLive();
  const place = usePlace();
  const [, redraw] = useState(0);
  const [helps, setHelps] = useState(false);
  const again = () => redraw((n) => n + 1);
  useKeys({
    "?": () => setHelps(true),
    d: () => {
      nextTheme();
      again();
    },
  });
  useEffect(() => {
    document.title = place ? `${place} · pgvigil` : "pgvigil";
  }, [place]);
  return html`
    <a class="skip" href="#main" onClick=${skip}>${t("page.skip")}</a>
    <${Header} cluster=${place} redraw=${again} help=${() => setHelps(true)} />
    ${page(now, place)}
    ${helps && html`<${Help} close=${() => setHelps(false)} />`}`;
}

/** @param {Event} event */
function skip(event) {
  event.preventDefault();
  document.querySelector("main")?.focus();
}

applyTheme();
render(html`<${Page} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
run();
