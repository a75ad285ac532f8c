/** Everything that goes to the controller and comes back. Errors are values of `Refusal`. */

import { token } from "./session.js";

/** What the controller, or the way to it, said against a request. */
export class Refusal extends Error {
  /** @param {number} status 0: nobody answered @param {{what?: string, text?: string, detail?: string, hint?: string}} body */
  constructor(status, body) {
    super(body.what ?? body.text ?? "");
    this.status = status;
    this.detail = body.detail ?? "";
    this.hint = body.hint ?? "";
  }
}

/** What an error says; empty: nobody answered. @param {unknown} error */
export const said = (error) => (error instanceof Error ? error.message : "");

/** @param {Record<string, string>} more */
function headers(more) {
  const secret = token();
  return secret ? { ...more, authorization: `Bearer ${secret}` } : more;
}

/** @param {string} path @param {RequestInit} options @returns {Promise<Response>} @throws {Refusal} nobody answered */
async function reach(path, options) {
  try {
    return await fetch(path, { cache: "no-store", credentials: "same-origin", ...options });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Refusal(0, {});
  }
}

/** @param {Response} answer */
async function bodyOf(answer) {
  try {
    return await answer.json();
  } catch {
    return { what: `HTTP ${answer.status}` };
  }
}

/** Read something. @param {string} path @throws {Refusal} */
export async function read(path) {
  const answer = await reach(path, { headers: headers({ accept: "application/json" }) });
  const body = await bodyOf(answer);
  if (!answer.ok) throw new Refusal(answer.status, body);
  return body;
}

/**
 * Rehearse a command: its outcome, also when it is refused.
 * @param {string} cluster @param {string} command @param {object} fields
 * @returns {Promise<import("./types.js").Outcome>}
 * @throws {Refusal} it could not even be asked
 */
export async function rehearse(cluster, command, fields) {
  const answer = await send(cluster, command, { ...fields, dry_run: true }, "application/json");
  const body = await bodyOf(answer);
  if (body.result) return body;
  throw new Refusal(answer.status, body);
}

/**
 * Give a command and follow it.
 * @param {string} cluster @param {string} command @param {object} fields
 * @param {(line: string) => void} progress
 * @returns {Promise<import("./types.js").Outcome>}
 * @throws {Refusal}
 */
export async function carryOut(cluster, command, fields, progress) {
  const answer = await send(cluster, command, { ...fields, within_s: 3600 }, "text/event-stream");
  if (!answer.ok || !answer.body) throw new Refusal(answer.status, await bodyOf(answer));
  for await (const message of messages(answer.body)) {
    const body = JSON.parse(message.data);
    if (message.kind === "progress") progress(body.text);
    else if (message.kind === "outcome") return body;
    else throw new Refusal(answer.status, body);
  }
  throw new Refusal(0, {});
}

/** @param {string} cluster @param {string} command @param {object} fields @param {string} accept */
function send(cluster, command, fields, accept) {
  return reach(`/clusters/${encodeURIComponent(cluster)}/${command}`, {
    method: "POST",
    headers: headers({ accept, "content-type": "application/json" }),
    body: JSON.stringify(fields),
  });
}

/**
 * Open the stream of states and events.
 * @param {number} after number of the last event that is known @param {AbortSignal} signal
 * @throws {Refusal}
 */
export async function openStream(after, signal) {
  const wanted = { accept: "text/event-stream", ...(after ? { "last-event-id": String(after) } : {}) };
  const answer = await reach("/events", { headers: headers(wanted), signal });
  if (!answer.ok || !answer.body) throw new Refusal(answer.status, await bodyOf(answer));
  return messages(answer.body);
}

/**
 * Server-sent events of a body. A comment comes as a message of no kind: a sign of life.
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<{kind: string, data: string}>}
 */
export async function* messages(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += decoder.decode(value, { stream: true });
      const parts = rest.split("\n\n");
      rest = parts.pop() ?? "";
      for (const part of parts) yield messageOf(part);
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}

/** @param {string} part */
function messageOf(part) {
  const message = { kind: "", data: "" };
  for (const line of part.split("\n")) {
    if (line.startsWith("event: ")) message.kind = line.slice(7);
    else if (line.startsWith("data: ")) message.data += line.slice(6);
  }
  return message;
}
