// The status page: asks the agent's public API every 15 s and draws what it says.
// What is missing is shown as missing; what is old is shown as old; nothing is guessed.

import { Unauthorized, byName, optional, read, readText, samples } from "./api.js";
import { clock, duration, el, heading, link, meter, percent, scaled, sparkline, table, withUnit } from "./draw.js";

const REFRESH_MS = 15_000;
const WINDOW_S = 3600;
const STEP_S = 60;

// One query for all signals; the API answers it from memory.
const SIGNALS =
  '{__name__=~"rivet_engine_info|rivet:(threshold|engine_(up:bool|expected:count)|(cpu|memory)_(limit_)?utilization:ratio|' +
  "request:rate|request_errors:ratio|request_latency:p99|restarts:increase15m|actors_running:count|actor_start_request:rate|" +
  'host_(connected:count|rate_limited:rate|error:rate)|pool_error:bool|pool_concurrency:ratio)"}';

const FIGURES = [
  { name: "Requests", unit: "/s", expr: "sum(rivet:request:rate)" },
  {
    name: "Errors",
    unit: "ratio",
    expr: "sum(rivet:request_errors:rate) / (sum(rivet:request:rate) > 0)",
    signal: "request_errors",
  },
  { name: "Latency p99", unit: "seconds", expr: "max(rivet:request_latency:p99)", signal: "request_latency" },
  { name: "Actors running", unit: "", expr: "sum(rivet:actors_running:count)" },
];

const FIRED = 'max by (alertname, severity, instance, pool_name) (ALERTS{alertstate="firing",severity=~"critical|warning"})';
const SEVERITIES = ["critical", "warning", "info"];
const COLORS = { critical: "bad", warning: "warn" };

const byId = (id) => document.getElementById(id);
const show = (id, ...nodes) => byId(id).replaceChildren(...nodes.filter(Boolean));
const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

let lastGood = null;

async function refresh() {
  try {
    const data = await gather();
    draw(data);
    lastGood = data.now;
    byId("trouble").hidden = byId("login").hidden = true;
  } catch (error) {
    if (error instanceof Unauthorized) {
      byId("login").hidden = false;
      return;
    }
    const since = lastGood ? `What you see is from ${clock(lastGood, true)}.` : "";
    byId("trouble").textContent = `The agent does not answer (${error.message}). ${since}`;
    byId("trouble").hidden = false;
    document.title = "? rivetwatch";
  }
}

async function gather() {
  // The agent's clock, not the browser's: they may differ, and a demo runs faster than either.
  const [, now] = (await read("/api/v1/query", { query: "time()" })).result;
  const end = Math.floor(Number(now));
  const range = (query, step) => ({ query, start: end - WINDOW_S, end, step });
  const [signals, alerts, rules, targets, build, routed, capacity, fired, metrics, ...figures] = await Promise.all([
    read("/api/v1/query", { query: SIGNALS }),
    read("/api/v1/alerts"),
    optional(read("/api/v1/rules")),
    optional(read("/api/v1/targets")),
    optional(read("/api/v1/status/buildinfo")),
    optional(read("/api/v2/alerts")),
    optional(read("/api/v1/capacity")),
    optional(read("/api/v1/query_range", range(FIRED, 30))),
    optional(readText("/metrics")),
    ...FIGURES.map(({ expr }) => optional(read("/api/v1/query_range", range(expr, STEP_S)))),
  ]);
  return { now: new Date(now * 1000), end, signals: byName(signals), alerts: alerts.alerts ?? [], rules, targets, build, routed, capacity, fired, metrics, figures };
}

function draw(data) {
  const alerts = [...data.alerts, ...foreign(data)]
    .map((alert) => ({ ...alert, severity: alert.labels.severity ?? "none", since: new Date(alert.firedAt ?? alert.activeAt) }))
    .filter((alert) => alert.severity !== "none" && alert.labels.alertname !== "Watchdog")
    .sort((a, b) => rank(a) - rank(b) || a.since - b.since);
  byId("clock").textContent = `as of ${clock(data.now, true)}`;
  drawVerdict(data, alerts);
  drawFigures(data);
  drawAlerts(data, alerts);
  drawEngines(data);
  drawHeadroom(data);
  drawHosts(data);
  drawHistory(data);
  drawNotifications(data);
  drawSources(data);
  byId("version").textContent = `rivetwatch ${data.build?.applicationVersion ?? data.build?.version ?? ""}`;
}

const rank = ({ state, severity }) => (state === "firing" ? 0 : 10) + (SEVERITIES.indexOf(severity) + 1 || 9);
const of = (data, name) => data.signals.get(name) ?? [];

function threshold(data, signal, severity) {
  const found = of(data, "rivet:threshold").filter(({ labels }) => labels.signal === signal && labels.severity === severity);
  return found.length ? Math.min(...found.map(({ value }) => value)) : null;
}

function drawVerdict(data, alerts) {
  // What another alert explains, or somebody silenced, is listed below and not the headline.
  const firing = (severity) => alerts.filter((alert) => alert.state === "firing" && alert.severity === severity && !suppression(data, alert));
  const [critical, warning] = [firing("critical"), firing("warning")];
  const engines = of(data, "rivet:engine_up:bool");
  const up = engines.filter(({ value }) => value > 0).length;
  const expected = of(data, "rivet:engine_expected:count").reduce((sum, { value }) => sum + value, 0);
  const worst = critical[0] ?? warning[0];
  const failing = failingRules(data);

  let [state, title] = ["good", "All is well"];
  if (worst) {
    const more = critical.length + warning.length - 1;
    state = critical.length ? "bad" : "warn";
    title = `${summary(worst)}${more ? ` And ${plural(more, "more alert")}.` : ""}`;
  } else if (watchdogSleeps(data)) {
    [state, title] = ["warn", "The Watchdog does not fire, so rules are not being evaluated"];
  } else if (failing.length) {
    [state, title] = ["warn", `${plural(failing.length, "rule")} cannot be evaluated, so silence proves nothing`];
  } else if (!engines.length && !loadedRules(data)) {
    [state, title] = ["good", "This agent receives and forwards; the gateway judges"];
  } else if (!engines.length) {
    [state, title] = ["warn", "No engine has been seen yet"];
  }
  const seen = engines.length
    ? `${up} of ${plural(Math.max(engines.length, expected), "engine")} up`
    : loadedRules(data)
      ? "Point an engine's OTLP exporter at port 4317, or let the agent scrape its port 6430"
      : "Its sources are below";
  const pending = alerts.filter((alert) => alert.state === "pending" && COLORS[alert.severity]).length;
  const info = firing("info").length;
  const parts = [seen, worst && `since ${clock(worst.since)} (${duration((data.now - worst.since) / 1000)})`, pending && `${plural(pending, "alert")} pending`, info && `${plural(info, "note")} below`];
  byId("verdict").className = `verdict ${state}`;
  show("verdict", el("h1", title), el("p", parts.filter(Boolean).join(" · ")));
  document.title = worst ? `${critical.length ? "●" : "○"} ${worst.labels.alertname} – rivetwatch` : "rivetwatch";
}

const loadedRules = (data) => (data.rules?.groups ?? []).some(({ rules }) => rules?.length);

/** The alert that always fires is loaded, yet it does not. */
function watchdogSleeps(data) {
  const loaded = (data.rules?.groups ?? []).some(({ rules }) => rules?.some(({ name }) => name === "Watchdog"));
  return loaded && !data.alerts.some(({ labels, state }) => labels.alertname === "Watchdog" && state === "firing");
}

const summary = (alert) => alert.annotations?.summary || alert.labels.alertname || "An alert without a name fires.";

function drawFigures(data) {
  const figures = FIGURES.map(({ name, unit, signal }, at) => {
    const points = (data.figures[at]?.result?.[0]?.values ?? []).map(([t, value]) => [t, Number(value)]);
    const fresh = points.length && data.end - points.at(-1)[0] <= 5 * STEP_S;
    const [number, small] = fresh ? scaled(points.at(-1)[1], unit) : ["–", ""];
    const limits = SEVERITIES.slice(0, 2)
      .map((severity) => ({ at: signal ? threshold(data, signal, severity) : null, bad: severity === "critical" }))
      .filter(({ at: value }) => value != null);
    const scale = { start: data.end - WINDOW_S, end: data.end, step: STEP_S, limits, label: `${name}, last hour` };
    return el("div.figure", el("div.name", name), el("div.value", number, small ? el("small", small) : null), sparkline(points, scale));
  });
  show("figures", ...figures);
}

function drawAlerts(data, alerts) {
  const shown = alerts.filter((alert) => alert.state === "firing" || COLORS[alert.severity]);
  if (!shown.length) {
    show("alerts", heading("Alerts"), el("div.card", el("div.empty", "Nothing fires, nothing is pending.")));
    return;
  }
  const rows = shown.map((alert) => {
    const { alertname = "" } = alert.labels;
    const color = alert.state === "firing" ? COLORS[alert.severity] : null;
    const shipped = alertname.startsWith("Rivet") && !alert.isForeign ? `/runbooks/${encodeURIComponent(alertname)}` : null;
    const runbook = alert.annotations?.runbook_url || shipped ? link("Runbook", alert.annotations?.runbook_url, shipped) : "";
    const state = alert.state === "firing" ? alert.severity : `${alert.severity}, pending`;
    return [
      el(color ? `span.tag.${color}` : "span.tag", state),
      el("div", el("div.alert-name", alertname), el("div", alert.annotations?.description || summary(alert)), el("div.quiet", held(data, alert))),
      el("span", { title: alert.since.toISOString() }, `${clock(alert.since)}`, el("div.quiet", duration((data.now - alert.since) / 1000))),
      runbook,
    ];
  });
  const columns = [{ name: "Severity" }, { name: "Alert", wrap: true }, { name: "Since", num: true }, { name: "Runbook" }];
  const counts = ["firing", "pending"].map((state) => [shown.filter((alert) => alert.state === state).length, state]);
  const remark = counts.filter(([count]) => count).map(([count, state]) => `${count} ${state}`).join(", ");
  show("alerts", heading("Alerts", remark), table(columns, rows, { lead: 1, rowClass: () => "alert-row" }));
}

/** What the notifier knows of an alert. */
function route(data, alert) {
  if (!Array.isArray(data.routed)) return null;
  const same = (labels) => Object.entries(alert.labels).every(([name, value]) => labels?.[name] === value);
  return data.routed.find(({ labels }) => same(labels)) ?? null;
}

/** Why an alert is sent to nobody although it fires; empty when it is sent. */
function suppression(data, alert) {
  const status = route(data, alert)?.status;
  if (status?.silencedBy?.length) return "silenced";
  return status?.inhibitedBy?.length ? "held back: another alert is its cause" : "";
}

/** Firing alerts that others handed in to be routed. */
function foreign(data) {
  if (!Array.isArray(data.routed)) return [];
  const own = (labels) => data.alerts.some((alert) => Object.entries(alert.labels).every(([name, value]) => labels[name] === value));
  return data.routed
    .filter(({ labels, endsAt }) => !own(labels) && labels.alertname !== "Watchdog" && new Date(endsAt) > data.now)
    .map(({ labels, annotations, startsAt }) => ({ labels, annotations, state: "firing", activeAt: startsAt, isForeign: true }));
}

/** To whom an alert goes, or why it goes to nobody. */
function held(data, alert) {
  if (alert.state !== "firing" || !Array.isArray(data.routed)) return "";
  const routed = route(data, alert);
  if (!routed) return "";
  const why = suppression(data, alert);
  if (why) return why;
  const receivers = (routed.receivers ?? []).map(({ name }) => name).join(", ");
  return receivers ? `goes to ${receivers}` : "goes to nobody";
}

function drawEngines(data) {
  const engines = of(data, "rivet:engine_up:bool");
  if (!engines.length) return show("engines");
  const value = (name, labels) => {
    const same = ({ labels: other }) => ["cluster", "namespace", "job", "instance"].every((l) => other[l] === labels[l]);
    return of(data, name).find(same)?.value;
  };
  const info = (labels) => of(data, "rivet_engine_info").find(({ labels: other }) => other.instance === labels.instance)?.labels;
  const cpu = threshold(data, "cpu_utilization", "warning");
  const memory = threshold(data, "memory_utilization", "warning");
  const text = (number, unit) => (number == null ? el("span.quiet", "–") : withUnit(number, unit));
  const rows = engines
    .sort((a, b) => `${a.labels.job} ${a.labels.instance}`.localeCompare(`${b.labels.job} ${b.labels.instance}`))
    .map(({ labels, value: up }) => {
      const restarts = value("rivet:restarts:increase15m", labels);
      return [
        el("div", el("span", labels.instance ?? "?"), labels.cluster ? el("span.quiet", ` ${labels.cluster}`) : null),
        el("span", el(up > 0 ? "span.tag.good" : "span.tag.bad", up > 0 ? "up" : "down"), restarts > 0 ? el("span.quiet", ` ${plural(Math.round(restarts), "restart")}`) : null),
        info(labels)?.version ?? el("span.quiet", "–"),
        text(value("rivet:request:rate", labels), "/s"),
        text(value("rivet:request_errors:ratio", labels), "ratio"),
        text(value("rivet:request_latency:p99", labels), "seconds"),
        meter(value("rivet:cpu_utilization:ratio", labels), cpu),
        meter(value("rivet:memory_utilization:ratio", labels), memory),
      ];
    });
  const columns = [{ name: "Instance", wrap: true }, { name: "State" }, { name: "Version" }, { name: "Requests", num: true }, { name: "Errors", num: true }, { name: "p99", num: true }, { name: "CPU" }, { name: "Memory" }];
  show("engines", heading("Engines", "CPU and memory are shares of what is requested"), table(columns, rows));
}

function drawHeadroom(data) {
  const report = data.capacity;
  if (!report?.rows?.length) return show("headroom");
  const known = (number) => (typeof number === "number" ? number : null);
  const rows = report.rows.map((row) => {
    const [used, limit, left] = [known(row.used), known(row.limit), known(row.headroom_ratio)];
    const atPeak = known(row.headroom_at_peak_ratio);
    const peak = atPeak != null && left != null && percent(atPeak) !== percent(left) ? el("div.quiet", `${percent(atPeak)} at peak`) : null;
    const unknown = () => el("span.quiet", "unknown");
    return [
      el("div", row.resource, row.note ? el("div.quiet", row.note) : null),
      row.subject || el("span.quiet", "–"),
      used == null ? unknown() : withUnit(used, unitOf(row.unit)),
      limit == null ? unknown() : el("span", withUnit(limit, unitOf(row.unit)), el("div.quiet", row.limit_source ?? "")),
      left == null ? unknown() : el("div", el(left < 0 ? "span.tag.bad" : left < 0.2 ? "span.tag.warn" : "span.tag.good", left < 0 ? `${percent(-left)} over` : `${percent(left)} left`), peak),
      row.time_to_full_seconds == null ? el("span.quiet", "no trend") : duration(row.time_to_full_seconds),
    ];
  });
  const columns = [{ name: "What", wrap: true }, { name: "Where", wrap: true }, { name: "Used", num: true }, { name: "Limit", num: true }, { name: "Room" }, { name: "Full in", num: true }];
  const binding = report.binding ? `${report.binding.resource}${report.binding.subject ? ` of ${report.binding.subject}` : ""} binds first` : "no limit is known";
  const wanted = (report.autoscaling ?? []).map((a) => `${plural(a.wanted_replicas, "replica")} by ${a.resource} at ${percent(a.target)} (now ${a.replicas})`);
  show("headroom", heading("Room left", [binding, ...wanted].join(" · ")), table(columns, rows));
}

const unitOf = (unit) => ({ cores: "cores", s: "seconds", B: "bytes" })[unit] ?? unit ?? "";

function drawHosts(data) {
  const key = ({ pool_name = "", rivet_namespace = "", job = "" }) => `${pool_name}\u0000${rivet_namespace}\u0000${job}`;
  const pools = new Map();
  const add = (name, field) => {
    for (const { labels, value } of of(data, name)) {
      if (!labels.pool_name) continue;
      const pool = pools.get(key(labels)) ?? { labels };
      pool[field] = value;
      pools.set(key(labels), pool);
    }
  };
  add("rivet:host_connected:count", "hosts");
  add("rivet:actor_start_request:rate", "starts");
  add("rivet:host_rate_limited:rate", "limited");
  add("rivet:host_error:rate", "failed");
  add("rivet:pool_error:bool", "error");
  add("rivet:pool_concurrency:ratio", "used");
  if (!pools.size) return show("hosts");
  const rate = (value) => (value == null ? el("span.quiet", "–") : value > 0 ? withUnit(value, "/s") : "0");
  const marked = (value) => (value > 0 ? el("span.tag.warn", withUnit(value, "/s")) : rate(value));
  const rows = [...pools.values()].map((pool) => [
    el("div", pool.labels.pool_name, pool.labels.rivet_namespace ? el("span.quiet", ` ${pool.labels.rivet_namespace}`) : null),
    poolState(pool),
    pool.hosts == null ? el("span.quiet", "–") : `${pool.hosts}`,
    rate(pool.starts),
    marked(pool.limited),
    marked(pool.failed),
    meter(pool.used, threshold(data, "pool_concurrency", "warning")),
  ]);
  const columns = [{ name: "Pool", wrap: true }, { name: "State" }, { name: "Hosts", num: true }, { name: "Starts", num: true }, { name: "429", num: true }, { name: "Failed", num: true }, { name: "Concurrency" }];
  show("hosts", heading("Actor hosts"), table(columns, rows));
}

function poolState({ error, hosts }) {
  if (error > 0) return el("span.tag.bad", "in error");
  if (hosts === 0) return el("span.tag.warn", "no host");
  return error == null && hosts == null ? el("span.quiet", "–") : el("span.tag.good", "well");
}

function drawHistory(data) {
  const lanes = (data.fired?.result ?? []).filter(({ metric }) => metric.alertname !== "Watchdog");
  if (!lanes.length) return show("history");
  const start = data.end - WINDOW_S;
  const left = (t) => `${Math.max(0, ((t - start) / WINDOW_S) * 100)}%`;
  const drawn = lanes
    .sort((a, b) => a.values[0][0] - b.values[0][0])
    .map(({ metric, values }) => {
      const bar = el("div.bar");
      for (const [from, to] of spans(values, 30)) {
        const piece = el(metric.severity === "critical" ? "i.bad" : "i", { title: `${clock(new Date(from * 1000))} to ${clock(new Date(to * 1000))}` });
        piece.style.left = left(from);
        piece.style.width = `${((to - from) / WINDOW_S) * 100}%`;
        bar.append(piece);
      }
      const where = metric.pool_name || metric.instance;
      return el("div.lane", el("div.wrap", metric.alertname, where ? el("span.quiet", ` ${where}`) : null), bar);
    });
  const ticks = [start, start + WINDOW_S / 2, data.end].map((t) => el("span", clock(new Date(t * 1000))));
  show("history", heading("Fired in the last hour"), el("div.card", el("div.spans", ...drawn, el("div.lane.axis", el("span"), el("div", ...ticks)))));
}

/** Runs of samples without a gap, as [from, to]; each sample lasts one step. */
function spans(values, step) {
  const out = [];
  for (const [t] of values) {
    if (out.length && t - out.at(-1)[1] <= step) out.at(-1)[1] = t + step;
    else out.push([t, t + step]);
  }
  return out;
}

function drawNotifications(data) {
  const prefix = "rivetwatch_notification";
  const targets = new Map();
  for (const { name, labels, value } of samples(data.metrics, prefix)) {
    const { reason, otel_scope_name, ...identity } = labels;
    if (!Object.keys(identity).length) continue;
    const key = Object.values(identity).join(" / ");
    const target = targets.get(key) ?? { sent: 0, failed: 0 };
    if (name === `${prefix}s_sent_total`) target.sent += value;
    if (name === `${prefix}s_failed_total`) target.failed += value;
    if (name === `${prefix}_last_success_timestamp_seconds`) target.last = value;
    if (name.startsWith(`${prefix}_target_broken`)) target.broken = value > 0;
    targets.set(key, target);
  }
  if (!targets.size) return show("notifications");
  const rows = [...targets].map(([name, { sent, failed, last, broken }]) => [
    el("div", name, broken ? el("div", el("span.tag.bad", "refuses everything")) : null),
    last ? el("span", clock(new Date(last * 1000)), el("div.quiet", `${duration(data.end - last)} ago`)) : el("span.quiet", "never"),
    `${sent}`,
    failed > 0 ? el("span.tag.bad", `${failed}`) : "0",
  ]);
  show("notifications", heading("Notifications"), table([{ name: "Target", wrap: true }, { name: "Last", num: true }, { name: "Sent", num: true }, { name: "Failed", num: true }], rows));
}

function failingRules(data) {
  return (data.rules?.groups ?? []).flatMap(({ rules }) => rules ?? []).filter(({ health }) => health === "err");
}

function drawSources(data) {
  const targets = data.targets?.activeTargets ?? [];
  const rows = targets.map((target) => [
    el("div.wrap", target.labels?.instance ?? target.scrapeUrl, el("div.quiet", target.scrapeUrl ?? "")),
    el("div", el(target.health === "up" ? "span.tag.good" : target.health === "down" ? "span.tag.bad" : "span.tag", target.health ?? "unknown"), target.lastError ? el("div.quiet.wrap", target.lastError) : null),
    target.lastScrape ? `${duration(Math.max(0, (data.now - new Date(target.lastScrape)) / 1000))} ago` : el("span.quiet", "never"),
  ]);
  const failing = failingRules(data);
  const rules = (data.rules?.groups ?? []).reduce((sum, group) => sum + (group.rules?.length ?? 0), 0);
  rows.push([
    el("div", "Rules", ...failing.slice(0, 3).map((rule) => el("div.quiet.wrap", `${rule.name}: ${rule.lastError ?? "failed"}`))),
    failing.length ? el("span.tag.bad", `${failing.length} failing`) : el(rules ? "span.tag.good" : "span.tag", rules ? "evaluated" : "none"),
    `${rules}`,
  ]);
  show("sources", heading("Where the data comes from"), table([{ name: "Source", wrap: true }, { name: "State" }, { name: "Last", num: true }], rows));
}

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", byId("token").value);
  byId("token").value = "";
  refresh();
});

async function loop() {
  if (!document.hidden) await refresh();
  setTimeout(loop, REFRESH_MS);
}

document.addEventListener("visibilitychange", () => document.hidden || refresh());
loop();
