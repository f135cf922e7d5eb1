const PAGE = 20;
const MODELS = data.board.map((row) => row.model);
const AGAINST = data.baseline === null ? "the other models" : data.baseline;

const fill = (id, ...nodes) => byId(id).querySelector(".wide").append(...nodes);
const note = (id, words) => (byId(`${id}-note`).textContent = words);

// Blue above one half, orange below, paler the nearer.
const shade = (value) => ({
  kind: `number ${value >= 0.5 ? "good" : "bad"}`,
  part: Math.round(Math.min(1, 2 * Math.abs(value - 0.5)) * 60),
});

function interval(row) {
  const x = (value) => 10 + 180 * value;
  return el(
    "svg",
    { viewBox: "0 0 200 16", width: 200, height: 16, role: "img" },
    el("title", {}, `${percent(row.low)} to ${percent(row.high)} %`),
    el("line", { class: "axis", x1: x(0.5), x2: x(0.5), y1: 0, y2: 16 }),
    el("line", { class: "range", x1: x(row.low), x2: x(row.high), y1: 8, y2: 8 }),
    el("circle", { class: "point", cx: x(row.rate), cy: 8, r: 4 }),
  );
}

function leaderboard() {
  note(
    "leaderboard",
    `Win rate against ${AGAINST} in per cent, ties count half; ${data.intervals}. ` +
      "Lead is the win rate less that of the next model, with its interval on the same prompts: the two " +
      "are told apart where it excludes zero, also where their own intervals overlap.",
  );
  const headers = ["#", "Model", "Win rate", "Interval", "Lead", "0 to 100 %", "Log-odds", "Prompts"];
  const rows = data.board.map((row, rank) => [
    number(rank + 1, String(rank + 1)),
    text(row.model),
    number(row.rate, percent(row.rate)),
    number(row.low, `${percent(row.low)} to ${percent(row.high)}`),
    number(row.lead, row.lead === null ? "" : `${percent(row.lead)} (${percent(row.lead_low)} to ${percent(row.lead_high)})`),
    { show: interval(row), value: row.rate },
    number(row.score, row.score.toFixed(3)),
    number(row.prompts, whole(row.prompts)),
  ]);
  fill("leaderboard", table(headers, rows));
}

// What a model is looked at beside, when only the model was chosen.
const against = (model) =>
  data.baseline !== null && model !== data.baseline
    ? { left: model, right: data.baseline }
    : { left: model };

function categories() {
  note("categories", `Win rate against ${AGAINST} in per cent; ${data.category_intervals}. ` +
    "Point at a cell for its interval, choose it to read its battles.");
  const rows = data.categories.map((category) => [
    text(category.name),
    number(category.prompts, whole(category.prompts)),
    ...category.cells.map((cell, model) =>
      cell === null
        ? number(null, "–")
        : {
            show: percent(cell.rate, 0),
            value: cell.rate,
            ...shade(cell.rate),
            title: `${percent(cell.low)} to ${percent(cell.high)} %`,
            open: () => choose({ ...against(MODELS[model]), category: category.name }),
          },
    ),
  ]);
  fill("categories", table(["Category", "Prompts", ...MODELS], rows));
}

function separability() {
  const { cells, separated, pairs, rule } = data.separability;
  const share = pairs ? ` (${percent(separated / pairs)} %)` : "";
  note("separability", `${separated} of ${pairs} pairs of models are told apart${share}: ${rule}. ` +
    "A cell is the row's win rate less the column's, in points; coloured where they are told apart.");
  const rows = MODELS.map((model, row) => [
    text(model),
    ...MODELS.map((other, column) => {
      const cell = cells[row][column];
      if (cell === null) return number(null, "");
      return {
        show: percent(cell.difference),
        value: cell.difference,
        ...(cell.separated ? shade(cell.difference > 0 ? 0.8 : 0.2) : { kind: "number" }),
        title: `${percent(cell.low)} to ${percent(cell.high)} points`,
        open: () => choose({ left: model, right: other, category: "" }),
      };
    }),
  ]);
  fill("separability", table(["Model", ...MODELS], rows));
}

function position() {
  note("position", "A fair judge prefers the answer shown first as often as the second, and says " +
    `the same in both orders.${data.position_note}`);
  const headers = ["Model", "Verdicts", "First wins %", "Second wins %", "Ties %", "Orders agree %"];
  const rows = data.position.map((row) => [
    text(row.model),
    number(row.games, whole(row.games)),
    number(row.first, percent(row.first)),
    number(row.second, percent(row.second)),
    number(row.tie, percent(row.tie)),
    number(row.agree, percent(row.agree)),
  ]);
  fill("position", table(headers, rows));
}

function lengths() {
  const points = data.lengths.filter((row) => row.tokens !== null && row.rate !== null);
  if (!points.length) return fill("length", el("p", { class: "note" }, "No lengths are known."));
  const headers = ["Model", "Mean tokens", "Win rate", "Longer answer wins %"];
  const rows = points.map((row) => [
    text(row.model),
    number(row.tokens, whole(row.tokens)),
    number(row.rate, percent(row.rate)),
    number(row.longer, percent(row.longer)),
  ]);
  fill("length", table(headers, rows));
}

function invalid() {
  const { count, games, rows } = data.invalid;
  note("invalid", `${count} of ${games} verdicts could not be read; they count for no one` +
    (rows.length < count ? `. The first ${rows.length}:` : "."));
  if (!rows.length) return;
  const cells = rows.map((row) => [
    text(row.prompt), text(row.model), text(row.order), text(row.judge), text(row.raw),
  ]);
  fill("invalid", table(["Prompt", "Model", "Order", "Judge", "The judge's text"], cells));
}

// The battles: the verdicts on two models where there are any, or else both models' verdicts
// against the baseline. A score is the mean over readable verdicts.
const filters = byId("filters").elements;
const OUTCOMES = { "": "any", left: "first model wins", right: "second model wins", tie: "tie",
  split: "orders disagree", invalid: "a verdict is invalid" };

// Verdicts on a prompt of `left` against `right`, with the point that `left` won.
function gamesOf(row, left, right) {
  return row.games.flatMap((game) => {
    if (game.model === left && game.baseline === right) return [{ ...game, score: game.outcome }];
    if (game.model !== right || game.baseline !== left) return [];
    return [{ ...game, score: game.outcome === null ? null : 1 - game.outcome }];
  });
}

function scoreOf(games) {
  const scores = games.map((game) => game.score).filter((score) => score !== null);
  return scores.length ? scores.reduce((sum, score) => sum + score, 0) / scores.length : null;
}

function battleOf(row, left, right) {
  let sides = [gamesOf(row, left, right), []];
  const direct = sides[0].length > 0;
  if (!direct && data.baseline !== null) {
    sides = [left, right].map((model) => gamesOf(row, model, data.baseline));
  }
  const games = sides.flat();
  if (!games.length || (!direct && sides.some((side) => !side.length))) return null;
  const [a, b] = direct ? [scoreOf(sides[0]), 0.5] : sides.map(scoreOf);
  const winner = a === null || b === null ? "" : a > b ? "left" : a < b ? "right" : "tie";
  const split = sides.some((side) =>
    side.some((game) => game.score !== null && game.score > 0.5) &&
    side.some((game) => game.score !== null && game.score < 0.5));
  return { row, games, direct, winner, split, invalid: games.some((game) => game.score === null) };
}

function verdictOf(game) {
  if (game.outcome === null) return "no readable verdict";
  if (game.outcome === 0.5) return "tie";
  const degree = game.strong ? "much better" : "better";
  return `${game.outcome > 0.5 ? game.model : game.baseline} ${degree}`;
}

function drawn({ row, games, winner, split, invalid }, left, right) {
  const words = [winner && OUTCOMES[winner], split && OUTCOMES.split, invalid && OUTCOMES.invalid];
  const node = el("details", { "data-prompt": row.id },
    el("summary", {}, el("span", {}, row.category || "no category"),
      el("span", {}, words.filter(Boolean).join(", ")), (row.text ?? row.id).slice(0, 160)));
  const answer = (model) => el("div", {}, el("h3", {}, model),
    el("pre", { dir: "auto" }, row.answers[model] ?? "(no answer in this file)"));
  const verdict = (game) => el("div", {},
    el("h3", {}, `${game.judge}, ${game.model} shown ${game.order}: ${verdictOf(game)}`),
    game.raw ? el("pre", { dir: "auto" }, game.raw) : null);
  // Texts are many and long: they are laid out when they are asked for.
  node.addEventListener("toggle", () => {
    if (!node.open || node.children.length > 1) return;
    node.append(el("div", {}, el("pre", { dir: "auto" }, row.text ?? row.id),
      el("div", { class: "sides" }, answer(left), answer(right)), ...games.map(verdict)));
  });
  return node;
}

let shown = PAGE;

function show() {
  const [left, right] = [filters.left.value, filters.right.value];
  const [kind, wanted] = [filters.outcome.value, filters.text.value.toLowerCase()];
  const found = data.prompts
    .filter((row) => !filters.category.value || row.category === filters.category.value)
    .filter((row) => !wanted || [row.id, row.text, row.answers[left], row.answers[right]]
      .some((words) => words?.toLowerCase().includes(wanted)))
    .map((row) => battleOf(row, left, right))
    .filter((battle) => battle && (!kind || battle.winner === kind || battle[kind] === true));
  const wins = (winner) => found.filter((battle) => battle.winner === winner).length;
  const indirect = found.some((battle) => !battle.direct)
    ? ` Both were judged against ${data.baseline}; their scores there are compared.` : "";
  note("battles", `${found.length} prompt${found.length === 1 ? "" : "s"}: ${left} wins ${wins("left")}, ${right} wins ` +
    `${wins("right")}, ${wins("tie")} ties.${indirect}${data.texts_note}`);
  byId("battles-list").replaceChildren(
    ...found.slice(0, shown).map((battle) => drawn(battle, left, right)),
  );
  byId("more").hidden = found.length <= shown;
}

function restart() {
  shown = PAGE;
  show();
}

function choose(wanted) {
  Object.entries(wanted).forEach(([name, value]) => (filters[name].value = value));
  filters.outcome.value = "";
  filters.text.value = "";
  restart();
  byId("battles").scrollIntoView();
}

function battles() {
  const options = (select, pairs) =>
    select.append(...pairs.map(([value, words]) => el("option", { value }, words)));
  options(filters.left, MODELS.map((model) => [model, model]));
  options(filters.right, MODELS.map((model) => [model, model]));
  const others = MODELS.filter((model) => model !== data.baseline);
  filters.left.value = others[0];
  const met = (model) => data.prompts.some((row) => battleOf(row, others[0], model));
  filters.right.value = data.baseline ?? others.find(met) ?? others[0];
  const names = [...new Set(data.prompts.map((row) => row.category))].filter(Boolean).sort();
  options(filters.category, [["", "all"], ...names.map((name) => [name, name])]);
  options(filters.outcome, Object.entries(OUTCOMES));
  byId("filters").addEventListener("input", restart);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("more").addEventListener("click", () => { shown += PAGE; show(); });
  show();
}

byId("summary").textContent = data.summary;
leaderboard();
categories();
separability();
position();
lengths();
invalid();
battles();
fill("provenance", facts(data.provenance));
