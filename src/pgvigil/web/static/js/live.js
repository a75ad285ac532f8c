/**
 * What is known now: clusters, events, who we are, and whether the stream is open. One stream for the whole page;
 * it is opened again whenever it ends, and asks for the events it missed.
 */

import { Refusal, openStream, read } from "./api.js";
import { remember } from "./series.js";
import { keepToken, token } from "./session.js";

const EVENTS_MAX = 400;
const SILENCE_MAX_MS = 40_000; // the controller says something every 15 s
const BACK_OFF_MS = [500, 1_000, 2_000, 5_000, 10_000];
const DRAW_EVERY_MS = { news: 20, few: 100, many: 250 };
const MANY = 100;

export const live = {
  /** @type {Map<string, import("./types.js").Cluster>} */
  clusters: new Map(),
  /** @type {import("./types.js").Happening[]} oldest first */
  events: [],
  /** @type {"connecting" | "live" | "lost" | "locked"} */
  link: "connecting",
  /** @type {{name: ?string, access: ?string}} */
  caller: { name: null, access: null },
  loaded: false,
};

/** @type {Set<() => void>} */
const listeners = new Set();
let drawing = 0;
let hurried = false;
let last = 0;
/** @type {?AbortController} */
let open = null;
/** @type {() => void} */
let hurry = () => undefined;

/** @param {() => void} listener @returns {() => void} ends it */
export function subscribe(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Have the page drawn again. @param {boolean} [isNews] a health has changed: at once, not with the next figures */
function changed(isNews = false) {
  if (hurried || (drawing && !isNews)) return;
  clearTimeout(drawing);
  hurried = isNews;
  const many = live.clusters.size > MANY ? DRAW_EVERY_MS.many : DRAW_EVERY_MS.few;
  drawing = setTimeout(draw, isNews ? DRAW_EVERY_MS.news : many);
}

function draw() {
  drawing = 0;
  hurried = false;
  for (const listener of listeners) listener();
}

/** @param {import("./types.js").Happening} event */
function keep(event) {
  const events = live.events;
  if (event.number > (events.at(-1)?.number ?? 0)) events.push(event);
  else if (!events.some((each) => each.number === event.number)) {
    events.push(event);
    events.sort((a, b) => a.number - b.number);
  }
  if (events.length > EVENTS_MAX * 4) live.events = events.slice(-EVENTS_MAX * 2);
}

/** @param {{kind: string, data: string}} message @returns {boolean} whether a health has changed */
function take(message) {
  if (message.kind === "state") {
    const state = JSON.parse(message.data);
    const before = live.clusters.get(state.cluster)?.health;
    live.clusters.set(state.cluster, state);
    remember(state);
    return state.health !== before;
  }
  if (message.kind === "event") {
    const event = JSON.parse(message.data);
    last = Math.max(last, event.number);
    keep(event);
  }
  return false;
}

/** Fetch older events of a cluster. @param {string} cluster */
export async function fetchEvents(cluster) {
  const found = await read(`/events?cluster=${encodeURIComponent(cluster)}&limit=${EVENTS_MAX}`);
  for (const event of found) keep(event);
  changed();
}

async function begin() {
  live.caller = await read("/caller");
  const clusters = await read("/clusters");
  live.clusters = new Map(clusters.map((each) => [each.cluster, each]));
  clusters.forEach(remember);
  if (!last) {
    for (const event of await read("/events?limit=100")) {
      keep(event);
      last = Math.max(last, event.number);
    }
  }
  live.loaded = true;
}

async function follow() {
  await begin();
  open = new AbortController();
  const stream = await openStream(last, open.signal);
  live.link = "live";
  changed();
  const silence = () => setTimeout(() => open?.abort(), SILENCE_MAX_MS);
  let impatience = silence();
  try {
    for await (const message of stream) {
      clearTimeout(impatience);
      impatience = silence();
      changed(take(message));
    }
  } finally {
    clearTimeout(impatience);
  }
}

/** @param {unknown} error */
function note(error) {
  const refusal = error instanceof Refusal ? error : new Refusal(0, {});
  const isWorthless = refusal.status === 401 && token() !== ""; // dropped or expired: perhaps none is needed to look
  if (isWorthless) keepToken("");
  live.link = refusal.status === 401 && !isWorthless ? "locked" : "lost";
  changed();
}

/** Keep the page up to date for as long as it is open. */
export async function run() {
  for (let failures = 0; ; ) {
    try {
      await follow();
      failures = 0;
      live.link = "lost";
      changed();
    } catch (error) {
      note(error);
    }
    const wait = BACK_OFF_MS[Math.min(failures++, BACK_OFF_MS.length - 1)];
    const isLocked = live.link === "locked";
    await new Promise((resolve) => {
      hurry = () => resolve(undefined);
      if (!isLocked) setTimeout(resolve, wait);
    });
  }
}

/** Come in again as somebody else. @param {string} secret empty: as nobody @throws {Refusal} it is not known */
export async function enter(secret) {
  const before = token();
  keepToken(secret);
  try {
    if (secret) live.caller = await read("/caller");
  } catch (error) {
    keepToken(before);
    throw error;
  }
  live.link = "connecting";
  open?.abort();
  hurry();
  changed();
}

/** Try now instead of waiting. */
export function reconnect() {
  hurry();
}
