
// A network from top to bottom: each bar is as wide as its share of the largest width.

const times = (pair) => pair.join("×");

function detailsOf(block) {
  if (!block.width) return ["skipped"];
  return [
    block.type,
    block.kernel ? `kernel ${times(block.kernel)}` : null,
    block.stride && Math.max(...block.stride) > 1 ? `stride ${times(block.stride)}` : null,
    block.expansion ? `expansion ${block.expansion}` : null,
    block.residual ? "residual" : null,
    block.bits ? `int${block.bits}` : null,
  ].filter(Boolean);
}

function costsOf(block) {
  if (block.macs === undefined) return [];
  return [
    `${macs(block.macs)}, ${ms(block.latency_ms)}`,
    `${bytes(block.weights_bytes)} of weights`,
    `output ${times(block.output)}`,
  ];
}

function widthOf(block) {
  if (block.outputs) return block.outputs;
  return block.width ? `${block.width} of ${block.largest}` : `0 of ${block.largest}`;
}

function drawNetwork(blocks, small) {
  return chart("The network", (width) => {
    const step = small ? 14 : 50;
    const node = svg(width, step * blocks.length);
    const most = Math.max(...blocks.map((block) => block.largest), 1);
    const room = Math.min(width, 640) - 4;
    blocks.forEach((block, index) => {
      const top = index * step + (small ? 1 : 20);
      const tall = small ? 11 : 22;
      const long = (size) => Math.max((size / most) * room, 2);
      const x = (size) => (Math.min(width, 640) - long(size)) / 2;
      const kind = block.bits === 4 ? "s1" : "s0";
      if (!small) {
        node.append(word(x(most), top - 6, block.name, "start", "strong"),
          word(x(most) + room, top - 6, detailsOf(block).slice(block.width ? 1 : 0).join(" · "), "end"));
      }
      node.append(rect(x(block.largest), top, long(block.largest), tall, "ghost", 3));
      const own = block.width
        ? rect(x(block.width), top, long(block.width), tall, `area ${kind}`, 3)
        : rect(x(block.largest), top, long(block.largest), tall, "hit", 3);
      node.append(marked(own, block.name, block.outputs ? widthOf(block) : `width ${widthOf(block)}`, detailsOf(block).join(", "),
        ...costsOf(block)));
      if (!small) {
        const inside = block.width && long(block.width) > 75;
        const label = block.width ? widthOf(block) : "skipped";
        node.append(inside || !block.width
          ? word(Math.min(width, 640) / 2, top + 15, label, "middle", inside ? "inside" : "")
          : word(x(block.width) + long(block.width) + 6, top + 15, label));
      }
    });
    return node;
  });
}

// Page parts that both kinds of report have.

function section(id, title, words, ...nodes) {
  const made = el("section", { id }, el("h2", {}, title));
  if (words) made.append(el("p", { class: "note" }, words));
  made.append(...nodes.filter((node) => node !== null));
  byId("main").append(made);
  byId("nav").append(el("a", { href: `#${id}` }, title));
}

function absent(id, title, why) {
  const made = el("section", { id, class: "absent" }, el("h2", {}, title),
    el("p", { class: "note" }, `Not shown: ${why}.`));
  byId("main").append(made);
}

const wide = (...nodes) => el("div", { class: "wide" }, ...nodes);
const pair = (...nodes) => el("div", { class: "pair" }, ...nodes);
const three = (...nodes) => el("div", { class: "three" }, ...nodes);
const titled = (title, ...nodes) => el("div", {}, el("h3", {}, title), ...nodes);
const judged = (verdict, estimates) => estimates.length
  ? `${verdict} (${estimates.join(", ")} estimated)` : verdict;
const badge = (fits, estimates) => el("span", { class: `badge ${fits ? "fits" : "over"}` },
  judged(fits ? "fits" : "does not fit", estimates));
