// CSV text (RFC 4180) as rows, and rows as a table.

import { kit } from "../kit.js";

export const MAX_COLUMNS = 50;
const MAX_CELL = 500; // characters shown

/** Return the rows of CSV text: quoted cells may hold separators, quotes and line ends. */
export function parseCsv(text, { separator = ",", maxRows = Infinity } = {}) {
  const rows = [];
  let row = [];
  let position = text.startsWith("\ufeff") ? 1 : 0;
  const ends = new RegExp(`[${separator}\\r\\n]`, "g");
  while (position < text.length && rows.length < maxRows) {
    let cell = "";
    while (text[position] === '"') { // a pair of quotes within quotes is one quote
      const quote = text.indexOf('"', position + 1);
      const end = quote < 0 ? text.length : quote;
      cell += text.slice(position + 1, end);
      position = end + 1;
      if (text[position] === '"') cell += '"';
    }
    ends.lastIndex = position;
    const end = ends.exec(text)?.index ?? text.length;
    cell += text.slice(position, end);
    if (row.length < MAX_COLUMNS) row.push(cell);
    position = end + 1;
    if (text[end] === separator) {
      if (position < text.length) continue;
      if (row.length < MAX_COLUMNS) row.push("");
    }
    if (text[end] === "\r" && text[position] === "\n") position += 1;
    if (row.length > 1 || row[0] !== "") rows.push(row); // not an empty line
    row = [];
  }
  return rows;
}

/** Return a table; the first row is its head. With `numbered`, rows have numbers, from 1. */
export function tableOf([head, ...rows], { numbered = false, ...attributes } = {}) {
  const { element } = kit;
  const shown = (cell) => (cell.length > MAX_CELL ? `${cell.slice(0, MAX_CELL)} …` : cell);
  const cells = (kind, row) => row.map((cell) => element(kind, kind === "th" ? { scope: "col" } : {}, shown(cell)));
  const first = (kind, text) => (numbered ? [element(kind, { class: "number" }, text)] : []);
  return element("table", attributes,
    element("thead", {}, element("tr", {}, ...first("td", ""), ...cells("th", head))),
    element("tbody", {}, ...rows.map((row, index) =>
      element("tr", {}, ...first("td", String(index + 1)), ...cells("td", row)))));
}
