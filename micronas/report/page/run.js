
// The sections of one run: budget, network, memory, layers, and how to make it again.

const COST_NAMES = { sram: "SRAM", flash: "Flash", latency: "Latency", macs: "MACs", load: "Load", energy: "Energy an hour" };

function tiles() {
  byId("main").append(el("div", { class: "tiles" }, ...data.tiles.map((tile) =>
    el("div", { class: "tile" }, el("span", {}, tile.label),
      el("b", {}, (tile.is_cost ? cost : measured)(tile.value, tile.unit)), el("small", {}, tile.note)))));
}

function gauge(row) {
  const show = (n) => cost(n, row.unit);
  const part = row.limit ? row.used / row.limit : 0;
  const left = row.limit - row.used;
  const name = COST_NAMES[row.name] ?? row.name;
  const words = left >= 0 ? `${show(left)} left` : `${show(-left)} too much`;
  const kind = part > 1 ? "bad" : part > 0.95 ? "s1" : "good";
  const bar = chart(name, (width) => svg(width, 14, rect(0, 0, width, 14, "track", 7),
    marked(rect(0, 0, width * Math.min(part, 1), 14, `area ${kind}`, 7), name,
      `${show(row.used)} of ${show(row.limit)}`, words)));
  return el("div", { class: "gauge" },
    el("div", {}, el("b", {}, name), el("span", {}, `${show(row.used)} of ${show(row.limit)}`)),
    bar,
    el("div", {}, el("small", {}, `${share(part)} used, ${words}`)),
    el("small", {}, row.note));
}

function budget({ rows, fits, estimates }) {
  section("budget", "Budget", "", badge(fits, estimates), pair(...rows.map(gauge)));
}

function network({ blocks, input, outputs, largest }) {
  section("network", "Network",
    `Input ${times(input)}, ${outputs}. A bar is the block's width, its dashed outline ` +
    `${largest}. Point at a block for its costs.`,
    drawNetwork(blocks, false));
}

// Who lives where in the head of the arena, step by step.
function arenaChart({ ops, limit }, { head, tail, buffers }) {
  return chart("The arena over time", (width) => {
    const height = 320;
    const end = Math.max(ops.length, ...buffers.map((each) => each.last));
    const near = limit !== null && limit <= 1.5 * (head + tail);
    const frame = axes(width, height,
      { label: "operator, in the order they run", low: -0.5, high: end + 0.5,
        show: (value) => (Number.isInteger(value) ? String(value) : "") },
      { low: 0, high: near ? Math.max(limit, head + tail) : head + tail, show: short });
    const node = svg(width, height, frame.drawn);
    const box = (first, last, low, high, kind) => rect(frame.across(first - 0.5), frame.up(high),
      frame.across(last + 0.5) - frame.across(first - 0.5), frame.up(low) - frame.up(high), kind, 1);
    const when = (step) => (step === 0 ? "the start" : step > ops.length ? "the end" : `${step} ${ops[step - 1]}`);
    node.append(marked(box(0, end, head, head + tail, "soft grey"), "persistent",
      `${bytes(tail)}: structures of the interpreter and of its operators`));
    buffers.forEach((each, index) => {
      const kind = each.scratch ? "soft grey" : `soft s${index % 6}`;
      const own = box(each.first, each.last, each.offset, each.offset + each.size, kind);
      node.append(marked(own, each.name, `${bytes(each.size)} at ${whole(each.offset)} B`,
        `from ${when(each.first)} to ${when(each.last)}`, each.scratch ? "scratch memory" : "activation"));
    });
    if (near) {
      const at = frame.up(limit);
      node.append(el("line", { class: "limit", x1: frame.left, x2: frame.right, y1: at, y2: at }),
        word(frame.right, at - 5, `budget ${bytes(limit)}`, "end"));
    }
    return node;
  });
}

function arena(shown) {
  const names = { board: "on the board", host: "on a 64-bit host, as TFLM reports it" };
  const host = el("div", {});
  const draw = (target) => {
    const plan = shown.plans[target];
    const least = plan.complete ? "" : " At least: some operators are not known.";
    host.replaceChildren(
      el("p", { class: "note" }, `Head ${bytes(plan.head)}, persistent ${bytes(plan.tail)}, to ` +
        `start ${bytes(plan.required)}.${least}`),
      arenaChart(shown, plan));
  };
  const select = el("select", { "aria-label": "Where it runs",
    onchange: () => draw(select.value) },
    ...Object.entries(names).map(([value, words]) => el("option", { value }, words)));
  draw("board");
  section("arena", "Arena over time",
    "Memory as TFLM's planner lays it out: a box is a tensor, its place in bytes from the start " +
    "of the arena, over the operators during which it lives.", select, host);
}

const times4 = (shape) => shape.slice(1).join("×") || "–";
const text4 = (size) => text(size ? times(size) : "–");

function layers({ rows, form, status, excludes, rest_ms }) {
  const total = rows.reduce((sum, row) => sum + row.latency_ms, 0) + rest_ms;
  const drawn = (key, show) => bars(key, rows.map((row) => ({
    label: row.name, value: row[key], show: show(row[key]),
    said: [row.op, `${ms(row.latency_ms)}, ${share(total ? row.latency_ms / total : 0)} of the latency`,
      macs(row.macs)],
  })));
  const headers = ["#", "Layer", "Operator", "Kernel", "Stride", "Output", "MACs", "Latency",
    "Share", "Weights", "Live", ""];
  const cells = rows.map((row, index) => [
    number(index + 1, String(index + 1)), text(row.name), text(row.op), text4(row.kernel),
    text4(row.stride), text(times4(row.output)), number(row.macs, macs(row.macs)),
    number(row.latency_ms, ms(row.latency_ms)),
    number(row.latency_ms, share(total ? row.latency_ms / total : 0)),
    number(row.weights_bytes, bytes(row.weights_bytes)),
    number(row.live_bytes, bytes(row.live_bytes)), text(row.flags.join(" ")),
  ]);
  const known = status === "validated" ? "" : ` (${status})`;
  const less = excludes.length ? ` Not counted: ${excludes.join(", ")}.` : "";
  const rest = rest_ms > 0.005 ? ` ${ms(rest_ms)} belong to no layer.` : "";
  section("layers", "Layers", `Latency predicted by ${form}${known}.${rest}${less}`,
    pair(titled("Latency", drawn("latency_ms", ms)), titled("MACs", drawn("macs", macs))),
    wide(table(headers, cells)));
}

function quantization({ reference, samples, culprit, layers: rows }) {
  const ratio = (value) => (value === null ? 80 : Math.min(Math.max(value, 0), 80));
  const drawn = bars("Signal-to-noise ratio", rows.map((row) => ({
    label: row.name, value: ratio(row.cumulative.sqnr_db), show: decibels(row.cumulative.sqnr_db),
    kind: row.name === culprit ? "s1" : "s0",
    said: [`so far ${decibels(row.cumulative.sqnr_db)}`, `here ${decibels(row.local.sqnr_db)}`,
      `median channel ${decibels(row.local.median_channel_db)}`],
  })));
  const level = (value) => number(value ?? 999, decibels(value));
  const cells = rows.map((row) => [text(row.name), text(row.kind), level(row.cumulative.sqnr_db),
    level(row.local.sqnr_db), level(row.local.median_channel_db), level(row.local.worst_channel_db),
    number(row.local.worst_channel, row.local.worst_channel === null ? "–" : String(row.local.worst_channel)),
    number(row.saturated, share(row.saturated))]);
  const headers = ["Layer", "Operator", "So far", "Here", "Median channel", "Worst channel",
    "Its number", "Saturated"];
  section("quantization", "Float against int8",
    `Signal-to-quantization-noise ratio of each layer's output on ${samples} examples, against the ` +
    `${reference}: so far, with the errors of all layers before, and here, by this layer alone. ` +
    `More is better.${culprit ? ` ${culprit} adds most noise by itself.` : ""}`,
    drawn, wide(table(headers, cells)));
}

function reproduce({ facts: known, files }) {
  section("reproduce", "Make it again", "", wide(facts(known)), ...files.map((file) =>
    el("details", {}, el("summary", {}, file.name), el("pre", {}, file.text))));
}
