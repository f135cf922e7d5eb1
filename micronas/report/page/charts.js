
// Charts as SVG at the width they have on the screen: text keeps its size, and a value can be
// read by pointing at it, by touching it, or with the arrow keys once the chart has the focus.

const bytes = (n) => (n === null ? "–" : Math.abs(n) < 1e3 ? `${Math.round(n)} B`
  : Math.abs(n) < 1e6 ? `${(n / 1e3).toFixed(1)} KB` : `${(n / 1e6).toFixed(2)} MB`);
const macs = (n) => (n === null ? "–" : n === 0 ? "0" : Math.abs(n) < 1e5 ? `${(n / 1e3).toFixed(1)} kMACs`
  : `${(n / 1e6).toFixed(2)} MMACs`);
const digits = (n, places) => (n === null ? "–" : n.toFixed(places));
const ms = (n) => (n === null ? "–" : `${digits(n, Math.abs(n) < 10 ? 2 : 1)} ms`);
const share = (n) => `${percent(n)} %`;
const decibels = (n) => (n === null ? "exact" : `${n.toFixed(1)} dB`);
// Three digits, or as many as tell numbers apart that are `step` from each other.
const short = (n, step = Infinity) => {
  const size = Math.abs(n), least = Math.floor(Math.log10(size)) - Math.floor(Math.log10(step)) + 1;
  const written = (value) => `${+value.toPrecision(Math.min(Math.max(3, least), 12))}`;
  return size >= 1e6 ? `${written(n / 1e6)}M` : size >= 1e3 ? `${written(n / 1e3)}k` : written(n);
};
const UNITS = { bytes, ms, macs, share, count: whole, mj: (n) => (n === null ? "–" : `${digits(n, 2)} mJ`) };
// A measure in the data's own unit, which may be called like one of a cost; a plain number has none.
const measured = (n, unit) => {
  if (n === null || unit === "share") return n === null ? "–" : share(n);
  const size = Math.abs(n), few = unit ? size < 1e3 : size > 0 && size < 1e-3;
  return `${few ? +n.toPrecision(3) : n.toFixed(unit ? 0 : 3)} ${unit}`.trim();
};
const cost = (n, unit) => (UNITS[unit] ?? measured)(n, unit);

const capital = (words) => words.charAt(0).toUpperCase() + words.slice(1);
const inPercent = (value, step = Infinity) => `${short(100 * value, 100 * step)} %`;
// An axis of a measure: shares in per cent.
const scale = (unit) => {
  const times = unit === "share" ? 100 : 1;
  return { show: (value, step = Infinity) => short(times * value, times * step), most: unit === "share" ? 1 : Infinity };
};

// A chart draws itself again when its width changes.
function chart(label, draw) {
  const host = el("div", { class: "chart" });
  let width = 0;
  new ResizeObserver(() => {
    if (host.clientWidth === width || !host.clientWidth) return;
    width = host.clientWidth;
    host.replaceChildren(draw(width));
    host.firstChild.setAttribute("tabindex", "0");
    host.firstChild.setAttribute("role", "group");
    host.firstChild.setAttribute("aria-label", `${label}. Arrow keys read its values.`);
  }).observe(host);
  return host;
}

const svg = (width, height, ...children) =>
  el("svg", { width, height, viewBox: `0 0 ${width} ${height}` }, ...children);
const word = (x, y, words, anchor = "start", kind = "") =>
  el("text", { x, y, "text-anchor": anchor, class: kind }, words);
const rect = (x, y, width, height, kind, radius = 0) =>
  el("rect", { x, y, width: Math.max(width, 0), height: Math.max(height, 0), class: kind, rx: radius });

// What is said of a mark: a heading and lines below it.
const SAID = new WeakMap();

function marked(node, ...lines) {
  SAID.set(node, lines);
  node.classList.add("mark");
  return node;
}

function say(lines, x, y) {
  const tip = byId("tip");
  tip.replaceChildren(...lines.map((line) => el("div", {}, line)));
  tip.hidden = false;
  const left = x + 14 + tip.offsetWidth > innerWidth ? x - 14 - tip.offsetWidth : x + 14;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, Math.min(y + 14, innerHeight - tip.offsetHeight - 4))}px`;
}

const hush = () => (byId("tip").hidden = true);

document.addEventListener("pointermove", (event) => {
  const lines = SAID.get(event.target.closest?.(".mark"));
  if (lines) say(lines, event.clientX, event.clientY);
  else if (event.target.tagName !== "CANVAS") hush();
});
document.addEventListener("pointerdown", (event) => {
  const lines = SAID.get(event.target.closest?.(".mark"));
  if (lines) say(lines, event.clientX, event.clientY);
});
document.addEventListener("scroll", hush, { passive: true });
document.addEventListener("focusout", hush);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hush();
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const own = document.activeElement;
  if (!step || own.tagName !== "svg") return;
  const marks = [...own.querySelectorAll(".mark")];
  if (!marks.length) return;
  event.preventDefault();
  const last = marks.findIndex((mark) => mark.classList.contains("current"));
  const next = marks[last < 0 ? 0 : (last + step + marks.length) % marks.length];
  marks[last]?.classList.remove("current");
  next.classList.add("current");
  const box = next.getBoundingClientRect();
  say(SAID.get(next), box.x + box.width / 2, box.y + Math.min(box.height / 2, 60));
  byId("said").textContent = SAID.get(next).join(", ");
});

function legend(names) {
  return el("div", { class: "legend" }, ...names.map(([name, kind]) =>
    el("span", {}, svg(10, 10, rect(0, 0, 10, 10, `area ${kind}`, 2)), name)));
}

// Round numbers between two others, about `count` of them.
function ticks(low, high, count) {
  const rough = (high - low) / Math.max(count, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step);
}

// The span of numbers, never empty; nulls do not count.
function extent(values, ...others) {
  const known = [...values, ...others].filter((value) => value !== null && value !== undefined);
  if (!known.length) return [0, 1];
  const [low, high] = [known.reduce((a, b) => Math.min(a, b)), known.reduce((a, b) => Math.max(a, b))];
  return high > low ? [low, high] : [low - Math.abs(low || 1) * 0.1, high + Math.abs(high || 1) * 0.1];
}

// Axes, and the two scales that belong to them.
function axes(width, height, x, y) {
  const [left, right, top, bottom] = [48, width - 10, 12, height - 34];
  const across = (value) => left + ((value - x.low) / (x.high - x.low)) * (right - left);
  const up = (value) => bottom - ((value - y.low) / (y.high - y.low)) * (bottom - top);
  const drawn = el("g", {});
  const rows = ticks(y.low, y.high, (bottom - top) / 34);
  const columns = ticks(x.low, x.high, (right - left) / 80);
  const gap = (values) => (values.length > 1 ? values[1] - values[0] : Infinity);
  for (const value of rows) {
    drawn.append(el("line", { class: "axis", x1: left, x2: right, y1: up(value), y2: up(value) }),
      word(left - 6, up(value) + 4, (y.show ?? short)(value, gap(rows)), "end"));
  }
  for (const value of columns) {
    drawn.append(word(across(value), bottom + 16, (x.show ?? short)(value, gap(columns)), "middle"));
  }
  drawn.append(word(right, height - 4, x.label, "end"));
  return { drawn, across, up, left, right, top, bottom };
}

// Lines over common x. A series is {name, kind, values}; a null is a gap.
function lines(label, { x, series, y = {}, limit = null, height = 210 }) {
  return chart(label, (width) => {
    const [low, high] = extent(series.flatMap((each) => each.values), y.low, y.high, limit);
    const [first, last] = extent(x.values);
    const frame = axes(width, height, { ...x, low: first, high: last },
      { show: y.show, low, high: Math.min(high, y.most ?? Infinity) });
    const node = svg(width, height, frame.drawn);
    if (limit !== null) {
      const at = frame.up(limit);
      node.append(el("line", { class: "limit", x1: frame.left, x2: frame.right, y1: at, y2: at }));
    }
    for (const each of series) {
      const known = x.values.map((value, index) => [value, each.values[index]])
        .filter(([value, other]) => value !== null && other !== null && other !== undefined);
      const points = known.map(([value, other]) => `${frame.across(value)},${frame.up(other)}`);
      node.append(el("polyline", { class: `line ${each.kind}`, points: points.join(" ") }));
      if (known.length === 1) {
        const [cx, cy] = points[0].split(",");
        node.append(el("circle", { class: `area ${each.kind}`, cx, cy, r: 3 }));
      }
    }
    x.values.forEach((value, index) => {
      const at = (other) => frame.across(x.values[other] ?? value);
      const from = index ? (at(index - 1) + at(index)) / 2 : frame.left;
      const to = index + 1 < x.values.length ? (at(index) + at(index + 1)) / 2 : frame.right;
      const hit = rect(from, frame.top, to - from, frame.bottom - frame.top, "hit");
      const said = series.filter((each) => (each.values[index] ?? null) !== null)
        .map((each) => `${each.name}: ${(y.tell ?? y.show ?? short)(each.values[index])}`);
      node.append(marked(hit, `${x.label} ${short(value)}`, ...said));
    });
    return node;
  });
}

// Points {x, y, kind, hollow, said}, and stairs {kind, points} that join some of them.
function scatter(label, { points, stairs = [], x, y, height = 260 }) {
  return chart(label, (width) => {
    const [low, high] = extent(points.map((each) => each.x), 0);
    const [worst, best] = extent(points.map((each) => each.y));
    const space = (best - worst) * 0.08;
    const frame = axes(width, height, { ...x, low, high: high * 1.05 },
      { ...y, low: worst - space, high: Math.min(best + space, y.most) });
    const node = svg(width, height, frame.drawn);
    for (const stair of stairs) {
      const steps = stair.points.flatMap((each, place, all) => {
        const [left, top] = [frame.across(each.x), frame.up(each.y)];
        const next = all[place + 1];
        return [`${left},${top}`, `${next === undefined ? frame.right : frame.across(next.x)},${top}`];
      });
      node.append(el("polyline", { class: `line front ${stair.kind}`, points: steps.join(" ") }));
    }
    for (const each of points) {
      node.append(marked(el("circle", { class: `${each.hollow ? "hollow" : "area"} ${each.kind}`, r: 5.5,
        cx: frame.across(each.x), cy: frame.up(each.y) }), ...each.said));
    }
    return node;
  });
}

// One bar a row: {label, value, show, said, kind}.
const LETTER = 7.4;

// Names stand beside their bars, or above them where they would take too much of the width.
function bars(label, rows, most = extent(rows.map((row) => row.value), 0)[1]) {
  return chart(label, (width) => {
    const widest = LETTER * Math.max(...rows.map((row) => row.label.length), 1) + 8;
    const above = widest > Math.max(170, width * 0.45);
    const [step, names, numbers] = [above ? 38 : 20, above ? 0 : Math.max(widest, 60), 78];
    const room = width - names - numbers;
    const node = svg(width, step * rows.length);
    rows.forEach((row, index) => {
      const top = index * step;
      const bar = above ? top + 18 : top;
      const long = row.value === null ? 0 : (Math.max(row.value, 0) / (most || 1)) * room;
      const name = above ? word(0, top + 14, row.label) : word(names - 8, top + 14, row.label, "end");
      if (above && widest > width) {  // a phone: narrower letters, and none are lost
        name.setAttribute("textLength", Math.min(LETTER * row.label.length, width));
        name.setAttribute("lengthAdjust", "spacingAndGlyphs");
      }
      node.append(
        name,
        rect(names, bar + 3, Math.max(long, 1), 14, `area ${row.kind ?? "s0"}`, 2),
        word(names + Math.max(long, 1) + 6, bar + 14, row.show),
        marked(rect(0, top, width, step, "hit"), row.label, ...row.said));
    });
    return node;
  });
}
