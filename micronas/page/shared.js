"use strict";

// Every text in the data is foreign. It enters the page as text nodes and attribute values of
// `el`, never as markup; the policy in the page's head would stop a script all the same.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const DRAWN = new Set(["svg", "g", "line", "circle", "rect", "path", "polyline", "text", "title"]);

function el(name, attributes = {}, ...children) {
  const node = DRAWN.has(name)
    ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

const percent = (value, digits = 1) => (value === null ? "–" : (100 * value).toFixed(digits));
const whole = (value) => (value === null ? "–" : Math.round(value).toLocaleString("en"));
const text = (value) => ({ show: value, value });
const number = (value, show) => ({ show, value: value ?? -Infinity, kind: "number" });

// A table whose columns sort. A cell is {show, value, kind, part, title, open}.
function table(headers, rows) {
  const body = el("tbody");
  const cellOf = (cell) => {
    const long = typeof cell.show === "string" && cell.show.length > 24;
    const node = el("td", { class: cell.kind ?? (long ? "long" : "") }, cell.show);
    if (cell.title) node.title = cell.title;
    if (cell.part !== undefined) node.style.setProperty("--part", `${cell.part}%`);
    if (cell.open) {
      node.classList.add("open");
      node.tabIndex = 0;
      node.addEventListener("click", cell.open);
      node.addEventListener("keydown", (event) => event.key === "Enter" && cell.open());
    }
    return node;
  };
  const lines = rows.map((cells) => ({ cells, node: el("tr", {}, ...cells.map(cellOf)) }));
  const heads = headers.map((name, column) => {
    const numeric = rows.some((cells) => typeof cells[column].value === "number");
    const head = el("th", { scope: "col", class: numeric ? "number" : "" });
    const sort = () => {
      const down = head.ariaSort ? head.ariaSort === "ascending" : numeric;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.ariaSort = down ? "descending" : "ascending";
      const compare = (a, b) => (numeric ? a - b : String(a).localeCompare(String(b)));
      lines.sort(
        (a, b) => (down ? -1 : 1) * compare(a.cells[column].value, b.cells[column].value),
      );
      body.append(...lines.map((line) => line.node));
    };
    head.append(el("button", { type: "button", onclick: sort }, name));
    return head;
  });
  body.append(...lines.map((line) => line.node));
  return el("table", {}, el("thead", {}, el("tr", {}, ...heads)), body);
}

// Pairs of a name and its value.
function facts(pairs) {
  const made = table(["What", "Value"], pairs.map((pair) => pair.map(text)));
  made.classList.add("facts");
  return made;
}
