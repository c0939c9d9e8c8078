// Reads the agent's API. A token that the API asks for is kept in this tab only.

const TIMEOUT_MS = 10_000;

export class Unauthorized extends Error {}

/** The `data` of a path of /api/v1, or the bare JSON of any other path. */
export async function read(path, parameters) {
  const url = parameters ? `${path}?${new URLSearchParams(parameters)}` : path;
  const answer = await send(url);
  const body = await answer.json();
  if (body && body.status === "error") throw new Error(body.error);
  return body && body.status === "success" ? body.data : body;
}

export async function readText(path) {
  return (await send(path)).text();
}

async function send(url) {
  const token = sessionStorage.getItem("token");
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(url, { headers, signal: AbortSignal.timeout(TIMEOUT_MS), cache: "no-store" });
  if (answer.status === 401) throw new Unauthorized(url);
  if (!answer.ok && answer.status !== 400 && answer.status !== 422) throw new Error(`${url}: ${answer.status}`);
  return answer;
}

/** A result that may be missing: an older agent or a sidecar lacks some paths. */
export async function optional(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof Unauthorized) throw error;
    return null;
  }
}

/** Vector samples as [{labels, value}], by metric name. */
export function byName(vector) {
  const out = new Map();
  for (const { metric, value } of vector?.result ?? []) {
    const number = Number(value[1]);
    if (Number.isNaN(number)) continue;
    const list = out.get(metric.__name__) ?? [];
    list.push({ labels: metric, value: number });
    out.set(metric.__name__, list);
  }
  return out;
}

/** Samples of the text page of /metrics whose name begins with `prefix`, as [{name, labels, value}]. */
export function samples(text, prefix) {
  const out = [];
  for (const line of (text ?? "").split("\n")) {
    if (!line.startsWith(prefix)) continue;
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!match) continue;
    const labels = {};
    for (const [, name, value] of (match[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
      labels[name] = value.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
    }
    out.push({ name: match[1], labels, value: Number(match[3]) });
  }
  return out;
}
