// Previews of an experiment's files: pictures, and tables with a histogram.

import { parseCsv, tableOf } from "./csv.js";
import { kit } from "../kit.js";
import { readStart, textOf } from "./reading.js";
import { t } from "../texts.js";

const MAX_BYTES = 5_000_000;
const MAX_ROWS = 5;
const BINS = 40;
const SVG = "http://www.w3.org/2000/svg";

/** Show previews of the files of the page; `shown` remembers them from one call to the next. */
export async function showPreviews(shown, live) {
  const { find, findAll } = kit;
  const links = findAll("#files a[data-size]");
  links.sort((a, b) => isPicture(b.textContent) - isPicture(a.textContent));
  for (const link of links) {
    const name = link.textContent;
    const size = Number(link.dataset.size);
    const known = `${size} ${live}`; // a live experiment may rewrite a file with the same size
    if (size > MAX_BYTES || shown.get(name) === known) continue;
    const preview = isPicture(name) ? picture : /\.csv$/i.test(name) ? table : null;
    if (!preview) continue;
    shown.set(name, known);
    const figure = kit.element("figure", { "data-name": name });
    figure.append(kit.element("figcaption", {}, name), ...(await preview(link.href, name, size)));
    const old = findAll("#previews figure").find((figure) => figure.dataset.name === name);
    if (old) old.replaceWith(figure);
    else find("#previews").append(figure);
    find("#results").hidden = false;
  }
}

export const isPicture = (name) => /\.(png|jpe?g)$/i.test(name);

function picture(url, name, size) {
  return [kit.element("img", { src: `${url}?size=${size}`, alt: name, loading: "lazy" })];
}

/** Show the first rows of a CSV file, and a histogram of its last numeric column. */
async function table(url, name, size) {
  const [head, ...rows] = parseCsv(textOf(await readStart(url, MAX_BYTES, size)) ?? "");
  if (!head) return [];
  const columns = head.map((_, column) => rows.map((row) => Number(row[column] || NaN)));
  const numeric = columns.findLastIndex((values) => values.length > 1 && values.every(isFinite));
  const first = tableOf([head, ...rows.slice(0, MAX_ROWS)], { class: "preview-table" });
  const scroll = { class: "table-scroll", tabindex: "0", role: "region", "aria-label": t("First rows of {name}", { name }) };
  return [...(numeric < 0 ? [] : histogram(columns[numeric], head[numeric])), kit.element("div", scroll, first)];
}

function histogram(values, name) {
  const low = values.reduce((a, b) => Math.min(a, b));
  const high = values.reduce((a, b) => Math.max(a, b));
  const counts = new Array(BINS).fill(0);
  const bin = (value) => Math.min(BINS - 1, Math.floor((BINS * (value - low)) / (high - low || 1)));
  for (const value of values) counts[bin(value)] += 1;
  const most = Math.max(...counts);
  const short = (value) => Number(value.toPrecision(3)).toString();
  const drawing = svg("svg", {
    class: "histogram", viewBox: `0 0 ${BINS * 10} 100`, preserveAspectRatio: "none", role: "img",
    "aria-label": t("{name}: {number} values from {low} to {high}",
      { name, number: values.length, low: short(low), high: short(high) }),
  });
  counts.forEach((count, index) => {
    const height = (100 * count) / most;
    const bar = svg("rect", { x: index * 10 + 0.5, y: 100 - height, width: 9, height });
    const from = low + (index * (high - low)) / BINS;
    const title = svg("title", {});
    title.textContent = t("{count} from {low} to {high}",
      { count, low: short(from), high: short(from + (high - low) / BINS) });
    bar.append(title);
    drawing.append(bar);
  });
  const { element } = kit;
  return [drawing, element("div", { class: "range quiet" },
    element("span", {}, short(low)), element("span", {}, t("{name}, {number} values", { name, number: values.length })),
    element("span", {}, short(high)))];
}

function svg(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}
