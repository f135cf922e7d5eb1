
// The sections of one run that show how it came about and how well it does; then all of them.

function gateMap(decision, place, rounds) {
  const [across, up] = [rounds.length, decision.options.length];
  const last = rounds[across - 1][place];
  const best = last.indexOf(Math.max(...last));
  const canvas = el("canvas", { width: across, height: up, tabindex: 0, role: "group",
    "aria-label": `${decision.name}: ${decision.options[best]}, ${share(last[best])} at the end. ` +
      "Arrow keys read its values." });
  canvas.style.height = `${Math.max(12 * up, 24)}px`;
  const paint = () => {
    const brush = canvas.getContext("2d");
    brush.clearRect(0, 0, across, up);
    brush.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--s0");
    rounds.forEach((row, x) => row[place].forEach((probability, option) => {
      brush.globalAlpha = probability;
      brush.fillRect(x, up - 1 - option, 1, 1);
    }));
  };
  paint();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  const at = { x: across - 1, y: up - 1 - best };
  const tell = (x, y) => [decision.name, `round ${x + 1}: ${decision.options[up - 1 - y]} with ` +
    share(rounds[x][place][up - 1 - y])];
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const cell = (offset, size, count) =>
      Math.min(count - 1, Math.max(0, Math.floor((offset / size) * count)));
    say(tell(cell(event.clientX - box.x, box.width, across), cell(event.clientY - box.y, box.height, up)),
      event.clientX, event.clientY);
  });
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!move) return;
    event.preventDefault();
    at.x = Math.min(across - 1, Math.max(0, at.x + move[0]));
    at.y = Math.min(up - 1, Math.max(0, at.y + move[1]));
    const box = canvas.getBoundingClientRect();
    say(tell(at.x, at.y), box.x + ((at.x + 0.5) / across) * box.width,
      box.y + ((at.y + 0.5) / up) * box.height);
    byId("said").textContent = tell(at.x, at.y).join(", ");
  });
  return el("div", {},
    el("div", {}, el("b", {}, decision.name), el("span", {}, `${decision.options[best]} at ${share(last[best])}`)),
    canvas,
    el("div", {}, el("span", {}, `options ${decision.options[0]} to ${decision.options[up - 1]}, upwards`)));
}

function search({ step, loss, expected, multiplier, gates }) {
  const rounds = { label: "round", values: step.map((_, index) => index + 1) };
  const costs = Object.keys(expected);
  const series = (values) => costs.map((name, index) =>
    ({ name: COST_NAMES[name] ?? name, kind: `s${index % 6}`, values: values[name] }));
  const names = costs.map((name, index) => [COST_NAMES[name] ?? name, `s${index % 6}`]);
  const shown = gates.absent || !gates.rounds.length ? null : gates;
  const varied = shown?.decisions.map((decision, place) => ({ decision, place }))
    .filter(({ decision }) => decision.options.length > 1);
  // without gates nothing is expected
  const balance = costs.length ? [
      titled("Expected costs, in shares of the budget", legend(names), lines("Expected costs",
        { x: rounds, series: series(expected), y: { low: 0, show: inPercent, tell: share }, limit: 1 })),
      titled("Multipliers of the penalties", legend(names), lines("Multipliers",
        { x: rounds, series: series(multiplier), y: { low: 0 } })),
  ] : [];
  section("search", "Search", "A round is twenty steps. Gates stay put until the supernet has learnt.",
    three(
      titled("Loss of the supernet", lines("Loss of the supernet",
        { x: rounds, series: [{ name: "loss", kind: "s0", values: loss }] })),
      ...balance),
    el("h3", {}, "Gates: probability of each option, round by round"),
    shown
      ? el("div", { class: "gates" }, ...varied.map(({ decision, place }) =>
        gateMap(decision, place, shown.rounds)))
      : el("p", { class: "note" }, `Not shown: ${gates.absent ?? "there was no round"}.`));
}

// Files of earlier versions do not say how long networks take.
function overLatency(rows, measure, scored) {
  const points = rows.map((row, index) => ({ ...row, index }))
    .filter((row) => row.latency_ms !== null && row.trial_score !== null);
  if (!points.length) return null;
  const origins = [...new Set(points.map((row) => row.origin))].sort();
  const kinds = Object.fromEntries(origins.map((name, index) => [name, `s${index % 6}`]));
  return titled(`Trial ${measure.name}${measure.unit === "share" ? ", per cent," : ""} over latency; filled: reached the last epoch`,
    legend(origins.map((name) => [name, kinds[name]])),
    scatter(`Trial ${measure.name} over latency`, { x: { label: "ms" }, y: scale(measure.unit),
      points: points.map((row) => ({ x: row.latency_ms, y: row.trial_score, kind: kinds[row.origin],
        hollow: row.trial_epochs < rows[0].trial_epochs,
        said: [row.network, row.origin, `${scored(row.trial_score)} after ${whole(row.trial_epochs)} epochs`,
          `${ms(row.latency_ms)}, ${macs(row.macs)}`] })) }));
}

function candidates({ winner, margin, half_width: half, after, measure, rows }) {
  const lead = (n) => (measure.unit === "share" ? (100 * n).toFixed(1) : measured(n, measure.unit).split(" ")[0]);
  const points = measure.unit === "share" ? `points of ${measure.name}` : `${measure.unit} of ${measure.name}`.trim();
  const scored = (n) => measured(n, measure.unit);
  const chance = half === null ? "" : ` ± ${lead(half)}`;
  const ahead = margin === null ? "no network of another origin had a trial."
    : `${lead(Math.abs(margin))}${chance} ${points} ${margin < 0 ? "behind" : "ahead of"} the best of other origins` +
      (after === null ? ", which had trials of other lengths." : `, both after ${whole(after)} epochs.`);
  // what a phone shows without being moved stands first
  const headers = ["#", capital(measure.name), "Latency", "Origin", "MACs", "Epochs", "Loss", "Network"];
  const cells = rows.map((row, index) => [number(index + 1, String(index + 1)),
    number(row.trial_score, scored(row.trial_score)), number(row.latency_ms, ms(row.latency_ms)),
    text(row.origin), number(row.macs, macs(row.macs)), number(row.trial_epochs, whole(row.trial_epochs)),
    number(row.trial_loss, measured(row.trial_loss, "")), text(row.network)]);
  section("candidates", "Candidates tried",
    "Each got a short training of its own, and those of larger loss an even shorter one. The first " +
    `won: origin ${winner}, ${ahead} Sorted by epochs reached, then loss.`,
    overLatency(rows, measure, scored),
    bars(`Trial ${measure.name}`, rows.map((row, index) => ({
      label: row.network, value: row.trial_score, show: scored(row.trial_score),
      kind: index === 0 ? "s2" : "s0",
      said: [row.origin, `${scored(row.trial_score)} after ${whole(row.trial_epochs)} epochs`, macs(row.macs)],
    }))),
    wide(table(headers, cells)));
}

const PHASES = { train: "float", quantize: "int8 in the loop" };

function training({ phases, measure: { name, unit } }) {
  const all = phases.flatMap((phase) => phase.epochs.map((epoch) => ({ ...epoch, phase: phase.name })));
  const x = { label: "epoch", values: all.map((_, index) => index + 1) };
  const only = (name, key) => all.map((epoch) => (epoch.phase === name ? epoch[key] : null));
  const phasesOf = (key, words, offset) => phases.map((phase, index) => ({
    name: `${words}, ${PHASES[phase.name] ?? phase.name}`, kind: `s${(offset + index) % 6}`,
    values: only(phase.name, key),
  }));
  const losses = [...phasesOf("loss", "training", 0), ...phasesOf("validation_loss", "validation", 2)];
  const accuracy = phasesOf("validation_score", "validation", 2);
  const title = capital(name);
  const named = (series) => legend(series.map((each) => [each.name, each.kind]));
  section("training", "Training", "Validation is watched on 1,000 examples at most; it chooses " +
    "between rounding alone and training with rounding, and nothing else.",
    pair(titled("Loss", named(losses), lines("Loss", { x, series: losses })),
      titled(title, named(accuracy), lines(title, { x, series: accuracy,
        y: unit === "share" ? { show: inPercent, tell: share, most: 1 }
          : { show: short, tell: (value) => measured(value, unit) } }))));
}

function matrix(classes, confusion) {
  const head = el("tr", {}, el("th", {}, "class \\ answer"), ...classes.map((name) => el("th", { scope: "col" }, name)),
    el("th", { scope: "col" }, "right"));
  const body = confusion.map((row, index) => {
    const total = row.reduce((sum, count) => sum + count, 0);
    const cells = row.map((count, answer) => {
      const part = total ? count / total : 0;
      const cell = el("td", { class: index === answer ? "share" : "wrong" }, count ? whole(count) : "·");
      cell.style.setProperty("--part", `${Math.round(80 * part)}%`);
      return marked(cell, `${classes[index]} taken for ${classes[answer]}`,
        `${whole(count)} of ${whole(total)}, ${share(part)}`);
    });
    return el("tr", {}, el("th", { scope: "row" }, classes[index]), ...cells,
      el("td", {}, total ? share(row[index] / total) : "–"));
  });
  return el("table", { class: "matrix" }, el("thead", {}, head), el("tbody", {}, ...body));
}

function rocChart({ false_positive_rate: across, true_positive_rate: up, name }) {
  return chart(`ROC of ${name}`, (width) => {
    const height = Math.min(280, width * 0.8);
    const frame = axes(width, height, { label: "false positives", low: 0, high: 1 }, { low: 0, high: 1 });
    const at = (x, y) => `${frame.across(x)},${frame.up(y)}`;
    const node = svg(width, height, frame.drawn,
      el("polyline", { class: "ghost", points: `${at(0, 0)} ${at(1, 1)}` }),
      el("polyline", { class: "line s0", points: across.map((x, index) => at(x, up[index])).join(" ") }));
    across.forEach((x, index) => node.append(marked(
      el("circle", { class: "hit", cx: frame.across(x), cy: frame.up(up[index]), r: 8 }), name,
      `finds ${share(up[index])} of the faults`, `at ${share(x)} false alarms`)));
    return node;
  });
}

function histogram({ normal, anomalous, name }) {
  return chart(`Scores of ${name}`, (width) => {
    const [low, high] = extent([...normal, ...anomalous]);
    const bins = 20;
    const count = (scores) => {
      const found = Array(bins).fill(0);
      for (const score of scores) found[Math.min(bins - 1, Math.floor(((score - low) / (high - low)) * bins))]++;
      return found;
    };
    const both = [["normal", "s2", count(normal)], ["anomalous", "s1", count(anomalous)]];
    const height = 190;
    const frame = axes(width, height, { label: "anomaly score", low, high },
      { low: 0, high: Math.max(...both.flatMap(([, , found]) => found), 1) });
    const node = svg(width, height, frame.drawn);
    const edge = (bin) => frame.across(low + ((high - low) * bin) / bins);
    for (const [words, kind, found] of both) {
      found.forEach((many, bin) => many && node.append(marked(
        rect(edge(bin), frame.up(many), edge(bin + 1) - edge(bin) - 1, frame.bottom - frame.up(many), `soft ${kind}`),
        `${whole(many)} ${words} clips`, `scores from ${short(low + ((high - low) * bin) / bins)}`)));
    }
    return node;
  });
}

function valuesChart({ name, unit, true: held, told }) {
  return chart(`${name}, predicted against true`, (width) => {
    const height = 320;
    const [low, high] = extent([...held, ...told]);
    const frame = axes(width, height, { label: `true${unit && `, ${unit}`}`, low, high },
      { low, high, show: short });
    const node = svg(width, height, frame.drawn, el("line", { class: "line front s2",
      x1: frame.across(low), y1: frame.up(low), x2: frame.across(high), y2: frame.up(high) }));
    held.forEach((value, index) => node.append(marked(el("circle", { class: "area s1", r: 2.5,
      cx: frame.across(value), cy: frame.up(told[index]) }), name,
    `true ${measured(value, unit)}`, `predicted ${measured(told[index], unit)}`)));
    return node;
  });
}

function labelTable(labels) {
  const rows = labels.map((each) => [text(each.name), number(each.examples, whole(each.examples)),
    number(each.right, whole(each.right)), number(each.missed, whole(each.missed)),
    number(each.false, whole(each.false))]);
  return table(["Label", "Examples", "Found", "Missed", "False alarms"], rows);
}

function outcome({ classes, columns, confusion, machines, per_machine, judged_on, mistakes: wrong, thresholds, values, labels }) {
  if (values) {
    section("outcome", "Predicted against true", `${values.name} in the ${judged_on} part: predictions of the int8 ` +
      "network (upwards) over true values. On the line they are equal.", valuesChart(values));
    return;
  }
  if (labels) {
    section("outcome", "Labels", `Examples of the ${judged_on} part, by the int8 network's answer at each ` +
      "label's threshold.", wide(labelTable(labels)));
    return;
  }
  if (!machines) {
    section("outcome", "Confusion matrix", `Examples of the ${judged_on} part by class (row) and by ` +
      "the int8 network's answer (column).", wide(matrix(classes, confusion)),
      ...(thresholds ? thresholdChart(thresholds) : []),
      ...(wrong.length ? mistakes(classes, columns, wrong) : []));
    return;
  }
  const rows = machines.map((each) => [text(each.name),
    number(per_machine[each.name]?.auc ?? null, digits(per_machine[each.name]?.auc ?? null, 3)),
    number(per_machine[each.name]?.pauc ?? null, digits(per_machine[each.name]?.pauc ?? null, 3)),
    number(each.normal.length, whole(each.normal.length)),
    number(each.anomalous.length, whole(each.anomalous.length))]);
  section("outcome", "Anomalies, machine by machine",
    "ROC curves and anomaly scores of the int8 network's test clips; pAUC is up to 10 % false alarms.",
    wide(table(["Machine", "AUC", "pAUC", "Normal clips", "Anomalous clips"], rows)),
    ...machines.map((each) => el("div", {}, el("h3", {}, each.name),
      pair(rocChart(each), el("div", {}, legend([["normal", "s2"], ["anomalous", "s1"]]), histogram(each))))));
}

const SECTIONS = [["budget", "Budget", budget], ["network", "Network", network],
  ["arena", "Arena over time", arena], ["layers", "Layers", layers],
  ["outcome", "Outcome", outcome], ["listening", "Long recordings", listening],
  ["training", "Training", training],
  ["search", "Search", search], ["candidates", "Candidates tried", candidates],
  ["quantization", "Float against int8", quantization], ["reproduce", "Make it again", reproduce]];

byId("name").textContent = data.name;
byId("summary").textContent = data.summary;
tiles();
for (const [id, title, show] of SECTIONS) {
  if (data[id].absent) absent(id, title, data[id].absent);
  else show(data[id]);
}
