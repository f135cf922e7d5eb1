
// Several runs: what they cost against how good they are, board by board.

const COSTS = { latency_ms: ["latency", ms, "ms"], sram_bytes: ["SRAM", bytes, "bytes"],
  flash_bytes: ["flash", bytes, "bytes"] };

const scoreOf = (row) => measured(row.score, row.unit);

const saidOf = (row) => [row.name, `${row.score_name} ${scoreOf(row)} int8`,
  `${ms(row.latency_ms)}, SRAM ${bytes(row.sram_bytes)}, flash ${bytes(row.flash_bytes)}`,
  macs(row.macs), `${row.board}, ${judged(row.fits ? "fits" : "does not fit its budget", row.estimates)}`];

function pareto(group, cost) {
  const [title, , unit] = COSTS[cost];
  const rows = group.runs.map((index) => data.rows[index]);
  const kinds = Object.fromEntries(group.boards.map(({ board }, index) => [board, `s${index % 6}`]));
  const point = (row) => ({ x: row[cost], y: row.score, kind: kinds[row.board], hollow: !row.fits, said: saidOf(row) });
  const stairs = group.boards.map(({ board, fronts }) =>
    ({ kind: kinds[board], points: fronts[cost].map((index) => point(data.rows[index])) }));
  return titled(`${capital(rows[0].score_name)} against ${title}`,
    scatter(title, { points: rows.map(point), stairs, x: { label: unit }, y: scale(rows[0].unit) }));
}

const inUnit = ({ unit }) => (unit === "share" ? " in per cent" : unit && ` in ${unit}`);

function compared(group, place) {
  const alike = data.groups.filter((other) => other.task === group.task && other.score_name === group.score_name);
  const name = [group.task, group.score_name, alike.length > 1 && group.data].filter(Boolean).join(", ");
  section(`fronts${place}`, `Fronts: ${name}${group.unit === "share" ? "" : inUnit(group)}`,
    `${capital(group.score_name)}${inUnit(group)}. A line joins the runs that no other of the same board beats; a ` +
    "hollow point does not fit its budget and is on no line.",
    legend(group.boards.map(({ board }, index) => [board, `s${index % 6}`])),
    three(...Object.keys(COSTS).map((cost) => pareto(group, cost))));
  const rows = group.boards.map(({ board, best }) => {
    if (best === null) return [text(board), text("none fits"), ...Array(5).fill(text("–"))];
    const row = data.rows[best];
    return [text(board), number(row.score, scoreOf(row)), ...costCells(row), text(row.name), text(row.network)];
  });
  byId("main").lastChild.append(el("h3", {}, "Best per board"),
    wide(table(["Board", "Score", "Latency", "SRAM", "Flash", "Run", "Network"], rows)));
}

const costCells = (row) => [number(row.latency_ms, ms(row.latency_ms)),
  number(row.sram_bytes, bytes(row.sram_bytes)), number(row.flash_bytes, bytes(row.flash_bytes))];

function everyRun() {
  // what a phone shows without being moved stands first
  const headers = ["Run", "Score", "Fits", "Latency", "SRAM", "Flash", "Board", "Task", "Origin", "Float",
    "Judged on", "MACs", "Energy", "Network", "Folder"];
  const rows = data.rows.map((row) => [text(row.name), number(row.score, `${row.score_name} ${scoreOf(row)}`),
    text(judged(row.fits ? "yes" : "no", row.estimates)), ...costCells(row), text(row.board), text(row.task),
    text(row.origin), number(row.float_score, measured(row.float_score, row.unit)), text(row.on),
    number(row.macs, macs(row.macs)), number(row.energy_mj, UNITS.mj(row.energy_mj)),
    text(row.network), text(row.path)]);
  section("runs", "Runs", "SRAM and flash are as budgets count them. Scores on other data are no rivals.", wide(table(headers, rows)));
}

function sideBySide() {
  section("networks", "Networks side by side", "A bar is a block's width, its outline the largest of " +
    "the search space, or of the network itself where that was given. Point at a block for its shape.",
    el("div", { class: "grid" }, ...data.rows.map((row) => el("article", {}, el("h3", {}, row.name),
      el("p", {}, `${scoreOf(row)}, ${ms(row.latency_ms)} on ${row.board} `, badge(row.fits, row.estimates)),
      row.blocks.length ? drawNetwork(row.blocks, true)
        : el("p", {}, "Its architecture.yaml cannot be read.")))));
}

byId("name").textContent = `${data.rows.length} runs`;
byId("summary").textContent = [...new Set(data.rows.map((row) => row.board))].join(", ");
data.groups.forEach(compared);
everyRun();
sideBySide();
if (data.left_out.length) {
  section("left-out", "Left out", "", wide(table(["Folder", "Why"],
    data.left_out.map(({ path, why }) => [text(path), text(why)]))));
}
