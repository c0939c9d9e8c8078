// One expression: its series now, each with its last hour. `?g0.expr=` fills it in, as links of alerts do.

import { Unauthorized, optional, read } from "./api.js";
import { clock, el, heading, sparkline, table } from "./draw.js";

const WINDOW_S = 3600;
const STEP_S = 60;
const SERIES_MAX = 100;

const byId = (id) => document.getElementById(id);

async function evaluate() {
  const query = byId("expr").value.trim();
  if (!query) return;
  history.replaceState(null, "", `/graph?${new URLSearchParams({ "g0.expr": query, "g0.tab": "1" })}`);
  try {
    const answer = await read("/api/v1/query", { query });
    const [, now] = (await read("/api/v1/query", { query: "time()" })).result;
    const end = Math.floor(Number(now));
    const past = await optional(read("/api/v1/query_range", { query, start: end - WINDOW_S, end, step: STEP_S }));
    byId("trouble").hidden = byId("login").hidden = true;
    draw(answer, past, end);
  } catch (error) {
    byId("answer").replaceChildren();
    const wantsToken = error instanceof Unauthorized;
    byId("login").hidden = !wantsToken;
    byId("trouble").hidden = wantsToken;
    byId("trouble").textContent = error.message;
  }
}

function draw(answer, past, end) {
  if (answer.resultType === "scalar" || answer.resultType === "string") {
    byId("answer").replaceChildren(el("div.card", el("div.empty", answer.result[1])));
    return;
  }
  const name = (metric) => JSON.stringify(Object.entries(metric).sort());
  const before = new Map((past?.result ?? []).map(({ metric, values }) => [name(metric), values ?? []]));
  const rows = answer.result.slice(0, SERIES_MAX).map(({ metric, value, histogram }) => {
    const points = (before.get(name(metric)) ?? []).map(([t, v]) => [t, Number(v)]);
    const line = points.length ? sparkline(points, { start: end - WINDOW_S, end, step: STEP_S, label: "last hour" }) : "";
    return [series(metric), value?.[1] ?? (histogram ? "histogram" : ""), line];
  });
  if (!rows.length) {
    const held = before.size ? " It returned something within the last hour." : "";
    byId("answer").replaceChildren(el("div.card", el("div.empty", `The expression returns nothing now.${held}`)));
    return;
  }
  const more = answer.result.length > rows.length ? `the first ${rows.length} of ${answer.result.length}` : `${rows.length} series`;
  const columns = [{ name: "Series", wrap: true }, { name: "Value", num: true }, { name: "Last hour" }];
  byId("answer").replaceChildren(heading(`At ${clock(new Date(end * 1000), true)}`, more), table(columns, rows));
}

function series({ __name__ = "", ...labels }) {
  const pairs = Object.entries(labels).map(([label, value]) => `${label}=${JSON.stringify(value)}`);
  return `${__name__}${pairs.length || !__name__ ? `{${pairs.join(", ")}}` : ""}`;
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  evaluate();
});

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", byId("token").value);
  byId("token").value = "";
  evaluate();
});

byId("expr").value = new URLSearchParams(location.search).get("g0.expr") ?? "";
evaluate();
