// Elements and numbers. Text from outside becomes text nodes only, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** el("td.num", {title: "…"}, child, …): children are elements, text, or nothing. */
export function el(selector, ...rest) {
  const [tag, ...classes] = selector.split(".");
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(" ");
  const isAttributes = rest[0] !== null && typeof rest[0] === "object" && !(rest[0] instanceof Node);
  if (isAttributes) for (const [name, value] of Object.entries(rest.shift())) if (value != null) node.setAttribute(name, value);
  node.append(...rest.filter((child) => child != null && child !== ""));
  return node;
}

function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** A link to the first of the addresses whose scheme cannot run anything. */
export function link(text, ...urls) {
  const target = urls.map(absolute).find((url) => url?.protocol === "http:" || url?.protocol === "https:");
  return target ? el("a", { href: target.href, rel: "noreferrer" }, text) : text;
}

function absolute(url) {
  try {
    return url ? new URL(url, location.href) : null;
  } catch {
    return null;
  }
}

/** A section's heading, with a remark at its right. */
export const heading = (text, remark) => el("h2", text, remark ? el("small", remark) : null);

/** rows: arrays of cells; a cell is a node or text, `lead` names the column that heads a folded row. */
export function table(columns, rows, { lead = 0, rowClass } = {}) {
  const head = el("tr", ...columns.map((column) => el(column.num ? "th.num" : "th", column.name)));
  const body = rows.map((cells, index) =>
    el(
      rowClass ? `tr.${rowClass(index)}` : "tr",
      ...cells.map((cell, at) => {
        const classes = [columns[at].num && "num", columns[at].wrap && "wrap", at === lead && "lead"].filter(Boolean);
        return el(["td", ...classes].join("."), { "data-name": columns[at].name }, cell);
      }),
    ),
  );
  return el("div.card", el("table.fold", el("thead", head), el("tbody", ...body)));
}

/** Share of something, with a mark where a threshold lies and the colour that follows from it. */
export function meter(ratio, warning, critical) {
  if (ratio == null) return el("span.quiet", "unknown");
  const class_ = critical != null && ratio > critical ? "bad" : warning != null && ratio > warning ? "warn" : "";
  const fill = el("div.fill");
  fill.style.width = `${Math.min(100, Math.max(0, ratio * 100))}%`;
  const track = el("div.track", fill);
  for (const at of [warning, critical]) {
    if (at == null || at > 1) continue;
    const mark = el("div.mark-at", { title: `threshold ${percent(at)}` });
    mark.style.left = `${at * 100}%`;
    track.append(mark);
  }
  return el(class_ ? `div.meter.${class_}` : "div.meter", track, el("span.of", percent(ratio)));
}

/** points: [seconds, value] in order; a gap of more than two steps breaks the line. */
export function sparkline(points, { start, end, step, limits = [], label }) {
  const [width, height, pad] = [240, 52, 5];
  const values = points.map(([, value]) => value).filter(Number.isFinite);
  const high = Math.max(...values, 0);
  // A threshold far above the data would flatten it: it is drawn only when the data comes near.
  const shown = limits.filter(({ at }) => at > 0 && at <= high * 2.5);
  const top = Math.max(high, ...shown.map(({ at }) => at)) || 1;
  const x = (t) => ((t - start) / (end - start)) * width;
  const y = (value) => height - pad - (Math.max(0, value) / top) * (height - 2 * pad);
  const pieces = [];
  let last = -Infinity;
  for (const [t, value] of points) {
    if (!Number.isFinite(value)) continue;
    if (t - last > 2 * step) pieces.push([]);
    pieces.at(-1).push([x(t), y(value)]);
    last = t;
  }
  const path = (piece) => piece.map(([px, py], i) => `${i ? "L" : "M"}${px.toFixed(1)} ${py.toFixed(1)}`).join("");
  const node = svg("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img" });
  node.append(svg("title", {}, label));
  for (const piece of pieces) {
    const closed = `${path(piece)}L${piece.at(-1)[0].toFixed(1)} ${height}L${piece[0][0].toFixed(1)} ${height}Z`;
    node.append(svg("path", { class: "area", d: closed }), svg("path", { class: "line", d: path(piece) }));
  }
  for (const { at, bad } of shown) {
    node.append(svg("line", { class: bad ? "limit bad" : "limit", x1: 0, x2: width, y1: y(at), y2: y(at) }));
  }
  return node;
}

const round = (value, digits) => value.toLocaleString("en", { maximumFractionDigits: digits });

export const percent = (ratio) => {
  const value = ratio * 100;
  return `${round(value, Math.abs(value) < 1 ? 2 : Math.abs(value) < 10 ? 1 : 0)} %`;
};

/** [number, unit] of a value in its base unit. */
export function scaled(value, unit) {
  if (unit === "ratio") return percent(value).split(" ");
  if (unit === "seconds") {
    if (value < 1) return [round(value * 1000, value < 0.01 ? 1 : 0), "ms"];
    return value < 120 ? [round(value, value < 10 ? 2 : 0), "s"] : [duration(value), ""];
  }
  if (unit === "bytes") {
    const power = Math.min(4, Math.max(0, Math.floor(Math.log2(Math.max(value, 1)) / 10)));
    return [round(value / 2 ** (10 * power), power ? 1 : 0), ["B", "KiB", "MiB", "GiB", "TiB"][power]];
  }
  if (Math.abs(value) >= 100_000) return [`${round(value / 1000, 0)} k`, unit];
  return [round(value, Math.abs(value) < 10 ? 2 : Math.abs(value) < 100 ? 1 : 0), unit];
}

export const withUnit = (value, unit) => scaled(value, unit).join(" ").trim();

/** Seconds as the two greatest units: 2 h 5 min. */
export function duration(seconds) {
  const parts = [];
  let rest = Math.max(0, Math.round(seconds));
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    if (rest >= size && parts.length < 2) parts.push(`${Math.floor(rest / size)} ${unit}`);
    else if (parts.length) break;
    rest %= size;
  }
  return parts.join(" ") || "0 s";
}

export const clock = (date, seconds) =>
  date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: seconds ? "2-digit" : undefined });
