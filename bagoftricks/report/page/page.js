"use strict";
// Sorts and filters tables; all else of the page works without it.
function key(cell) {
  const text = cell ? cell.textContent.trim() : "";
  const number = /^[+\u2212-]?[\d.,]+/.exec(text);
  return number ? parseFloat(number[0].replace(/,/g, "").replace("\u2212", "-")) : text.toLowerCase();
}
function compare(a, b) {
  if (a === "" || b === "") return (a === "") - (b === "");
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return typeof a === "number" ? a - b : a.localeCompare(b);
}
function sortTable(table, at, descending) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row, number) => [key(row.cells[at]), number, row]);
  rows.sort((a, b) => (a[0] === "" || b[0] === "" ? compare(a[0], b[0]) : (descending ? -1 : 1) * compare(a[0], b[0])) || a[1] - b[1]);
  rows.forEach((entry) => body.append(entry[2]));
  [...table.tHead.rows[0].cells].forEach((head, other) => {
    if (other === at) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
}
function filterTable(table, text, count) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = [...table.tBodies[0].rows];
  rows.forEach((row) => { row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word)); });
  const shown = rows.filter((row) => !row.hidden).length;
  count.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
}
function enhance(root) {
  root.querySelectorAll("[data-table]").forEach((box) => {
    const table = box.querySelector("table");
    [...table.tHead.rows[0].cells].forEach((head, at) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sortTable(table, at, head.getAttribute("aria-sort") === "ascending"));
      head.append(button);
    });
    table.querySelectorAll("[data-runs]").forEach((cell) => { cell.title = `runs ${cell.dataset.runs}`; });
    const label = document.createElement("label");
    const input = document.createElement("input");
    const count = document.createElement("span");
    input.type = "search";
    input.placeholder = "words of a row";
    label.append("Filter ", input);
    count.setAttribute("role", "status");
    input.addEventListener("input", () => filterTable(table, input.value, count));
    const bar = document.createElement("div");
    bar.className = "filter";
    bar.append(label, count);
    box.before(bar);
  });
}
enhance(document);
