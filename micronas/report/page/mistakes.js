
// Examples that were misclassified, to be seen and heard, and the choice of a threshold.

const HEARD_HZ = 8000;

// Mu-law of 8 kHz without a request: decoded here, played by the browser's own mixer.
function play(sound) {
  const codes = Uint8Array.from(atob(sound), (letter) => letter.charCodeAt(0));
  const samples = Float32Array.from(codes, (code) => {
    const level = (code - 127.5) / 127.5;
    return Math.sign(level) * (256 ** Math.abs(level) - 1) / 255;
  });
  const mixer = new AudioContext();
  const buffer = mixer.createBuffer(1, samples.length, HEARD_HZ);
  buffer.copyToChannel(samples, 0);
  const source = mixer.createBufferSource();
  source.buffer = buffer;
  source.connect(mixer.destination);
  source.onended = () => mixer.close();
  source.start();
  return samples.length;
}

function picture(rows, label) {
  const [height, width] = [rows[0].length, rows[0][0].length];
  const canvas = el("canvas", { width, height, class: "picture", role: "img", "aria-label": label });
  const brush = canvas.getContext("2d");
  const pixels = brush.createImageData(width, height);
  const plane = (place) => rows[Math.min(place, rows.length - 1)];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = 4 * (y * width + x);
      for (let colour = 0; colour < 3; colour++) pixels.data[at + colour] = plane(colour)[y][x];
      pixels.data[at + 3] = 255;
    }
  }
  brush.putImageData(pixels, 0, 0);
  return canvas;
}

function mistake(each, classes, names) {
  const label = `${classes[each.label]} taken for ${classes[each.answer]}`;
  const drawn = each.kind === "picture" ? picture(each.rows, label)
    : lines(label, { x: { label: "sample", values: each.values[0].map((_, index) => index) }, height: 150,
      series: each.values.map((values, index) => ({ name: names[index], kind: `s${index}`, values })) });
  const button = each.sound
    ? el("button", { type: "button", class: "play", onclick: () => (button.dataset.played = play(each.sound)) }, "Listen")
    : null;
  return el("figure", { class: "mistake" }, drawn,
    el("figcaption", {}, el("b", {}, classes[each.label]), ` taken for ${classes[each.answer]}, `,
      `${share(each.certainty)} certain`), button);
}

function mistakes(classes, columns, shown) {
  const lines = shown[0].values ?? [];
  const names = columns.length === lines.length ? columns : lines.map((_, index) => `channel ${index + 1}`);
  return [el("h3", {}, "Misclassified, the most certain first"),
    names.length > 1 ? legend(names.map((name, index) => [name, `s${index}`])) : null,
    el("div", { class: "mistakes" }, ...shown.map((each) => mistake(each, classes, names)))];
}

// Thresholds than which another one misses fewer words and accepts no more are left out.
const worthwhile = (points) => points.filter((each) => !points.some((other) =>
  other.misses <= each.misses && other.false_accepts <= each.false_accepts &&
  (other.misses < each.misses || other.false_accepts < each.false_accepts)));

function thresholdChart({ ignored, seconds, points }) {
  const hour = seconds ? 3600 / seconds : null;
  const shown = hour ? (part) => `${whole(part * hour)} an hour` : share;
  const label = hour ? "false accepts an hour" : "false accepts, share";
  return [el("h3", {}, `Threshold: ${ignored.join(", ")} accepted against others missed`),
    missesChart(label, worthwhile(points).map((each) => ({ x: each.false_accepts * (hour ?? 1), misses: each.misses,
      said: [`threshold ${digits(each.threshold, 2)}`, `${share(each.misses)} missed`,
        `${shown(each.false_accepts)} falsely accepted`] })))];
}

function missesChart(label, points) {
  return chart(`Misses against ${label}`, (width) => {
    const height = 240;
    const frame = axes(width, height, { label, low: 0, high: Math.max(...points.map((each) => each.x)) || 1, show: short },
      { low: 0, high: Math.max(...points.map((each) => each.misses)) || 1, show: inPercent });
    const at = (each) => [frame.across(each.x), frame.up(each.misses)];
    const node = svg(width, height, frame.drawn,
      el("polyline", { class: "line s0", points: points.map((each) => at(each).join(",")).join(" ") }));
    for (const each of points) {
      const [x, y] = at(each);
      node.append(el("circle", { class: "area s0", cx: x, cy: y, r: 2.5 }),
        marked(el("circle", { class: "hit", cx: x, cy: y, r: 8 }), ...each.said));
    }
    return node;
  });
}

// Scores over time, what was there to hear below them, and the events on top.
function heardChart({ unit, times, series, events, marks }) {
  return chart("Scores over time", (width) => {
    const height = 260;
    const [low, high] = extent(times);
    const floor = Math.min(...series.map(({ threshold }) => threshold ?? 0), 0) - 20;
    const top = Math.max(...series.flatMap((each) => each.scores), 1);
    const frame = axes(width, height, { label: unit, low, high }, { low: floor, high: top, show: short });
    const node = svg(width, height, frame.drawn);
    for (const { label, start, end } of marks) {
      const left = frame.across(Math.max(start, low));
      node.append(marked(rect(left, frame.up(0), frame.across(Math.min(end, high)) - left, frame.bottom - frame.up(0),
        "soft s2"), label, `from ${short(start)} to ${short(end)} ${unit}`));
    }
    series.forEach((each, index) => node.append(el("polyline", { class: `line s${index % 6}`,
      points: times.map((time, place) => `${frame.across(time)},${frame.up(Math.max(floor, each.scores[place]))}`).join(" ") })));
    for (const { label, at } of events) {
      const place = series.findIndex((each) => each.label === label);
      const x = frame.across(at);
      node.append(el("line", { class: `line s${place % 6}`, x1: x, x2: x, y1: frame.top, y2: frame.bottom }),
        marked(el("circle", { class: `area s${place % 6}`, cx: x, cy: frame.top, r: 5 }), label,
          `event at ${short(at)} ${unit}, threshold ${series[place].threshold}`));
    }
    return node;
  });
}

function listening({ recordings, hours, occurrences, missed, false_alarms_per_hour: alarms, held_out: other, curve, shown }) {
  const beside = other ? ` Judged by what the others chose, ${share(other.missed)} and ${short(other.false_alarms_per_hour)} an hour.` : "";
  const points = curve.map((each) => ({ x: each.false_alarms_per_hour, misses: each.missed,
    said: [`${share(each.missed)} missed`, `${short(each.false_alarms_per_hour)} false alarms an hour`] }));
  const heard = shown ? [el("h3", {}, `Scores in ${shown.recording}`),
    legend(shown.series.map((each, index) => [each.label, `s${index % 6}`])), heardChart(shown)] : [];
  if (shown?.sound) {
    const button = el("button", { type: "button", class: "play",
      onclick: () => (button.dataset.played = play(shown.sound)) }, "Listen");
    heard.push(button);
  }
  section("listening", "Long recordings", `${whole(recordings)} recording${recordings === 1 ? "" : "s"}, ${short(hours)} hours in all, chose thresholds: of ` +
    `${whole(occurrences)} words ${share(missed)} are missed, with ${short(alarms)} false alarms an hour.${beside}`,
    el("h3", {}, "Misses against false alarms"), missesChart("false alarms an hour", points), ...heard);
}
