// Shows a file of the experiment in a dialog, without leaving the page. What it holds is text, never markup.

import { lineNodes, overwritten } from "./ansi.js";
import { parseCsv, tableOf } from "./csv.js";
import { kit } from "../kit.js";
import { isPicture } from "./previews.js";
import { readStart, textOf } from "./reading.js";
import { t } from "../texts.js";

const MAX_BYTES = 512 * 1024; // read of a file
const MAX_PICTURE_BYTES = 20_000_000;
const MAX_ROWS = 1000;
const MAX_LINES = 20_000;
const MAX_LINE = 10_000; // characters
const MAX_INDENT = 40; // levels of JSON
const OWN_LOG = /^logs\/(\d+)\.log$/;

/** Open a file in the viewer when its name is clicked. */
export function startViewer() {
  const { find, on } = kit;
  const dialog = find("#viewer");
  const content = find("#viewer-content");
  const wrap = find("#viewer-wrap");
  let opened = ""; // the name of the file

  document.addEventListener("click", (event) => {
    const link = event.target.closest("#files a[data-size]");
    const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
    if (!link || !isPlain) return;
    event.preventDefault();
    open(link);
  });
  on("#viewer-close", "click", () => dialog.close());
  on("#viewer-wrap", "change", () => content.classList.toggle("unwrapped", !wrap.checked));
  dialog.addEventListener("click", ({ target }) => { if (target === dialog) dialog.close(); }); // beside it
  dialog.addEventListener("close", () => {
    content.replaceChildren();
    const link = kit.findAll("#files a[data-size]").find(({ textContent }) => textContent === opened);
    opened = "";
    link?.focus(); // refreshing may have replaced the one that was clicked
  });

  async function open(link) {
    const name = link.textContent;
    opened = name;
    find("#viewer-title").textContent = name;
    find("#viewer-download").href = link.href;
    find("#viewer-download").download = name.split("/").at(-1);
    tell(t("Loading …"));
    content.replaceChildren();
    dialog.showModal();
    let shown;
    try {
      shown = await contentOf(link.href, name, Number(link.dataset.size));
    } catch (error) {
      if (!(error instanceof kit.Problem)) throw error;
      shown = { nodes: [], note: error.message };
    }
    if (opened !== name) return; // closed, or another one opened, meanwhile
    wrap.checked = shown.isWrapped ?? true;
    wrap.closest("label").hidden = shown.isWrapped === undefined;
    content.classList.toggle("unwrapped", !wrap.checked);
    content.replaceChildren(...shown.nodes);
    content.scrollTo(0, 0);
    tell(shown.note);
  }

  function tell(text) {
    find("#viewer-note").textContent = text;
  }
}

/** Return what to show of a file: { nodes, note, isWrapped }; isWrapped is undefined if it is not text. */
async function contentOf(url, name, size) {
  if (isPicture(name)) return picture(url, name, size);
  const own = OWN_LOG.exec(name);
  const source = own ? `${kit.find("#log").dataset.url}?attempt=${own[1]}&tail=${MAX_LINES}&ansi=true` : url;
  const start = await readStart(source, MAX_BYTES, size);
  const text = textOf(start);
  if (text === null) return { nodes: [], note: t("This file is not text: download it.") };
  if (!text) return { nodes: [], note: t("This file is empty.") };
  const note = start.isCut ? t("the first {number} KiB", { number: MAX_BYTES / 1024 }) : "";
  const separator = { csv: ",", tsv: "\t" }[name.split(".").at(-1).toLowerCase()];
  if (separator) return table(text, start.isCut, separator, note);
  if (/\.json$/i.test(name)) return json(text, start.isCut, note);
  return lines(text, note, /\.(log|txt|out|err)$/i.test(name));
}

function picture(url, name, size) {
  if (size > MAX_PICTURE_BYTES) return { nodes: [], note: t("This picture is too large to be shown: download it.") };
  const image = kit.element("img", { src: `${url}?size=${size}`, alt: name });
  const wrong = kit.element("p", { class: "quiet" }, t("This file is not a picture that can be shown."));
  image.addEventListener("error", () => image.replaceWith(wrong));
  return { nodes: [image], note: "" };
}

function table(text, isCut, separator, note) {
  const rows = parseCsv(text, { separator, maxRows: MAX_ROWS + 2 }); // with the head, and one to know of more
  if (isCut && rows.length < MAX_ROWS + 2) rows.pop(); // it may be half a row
  if (!rows.length) return lines(text, note);
  const isLong = isCut || rows.length > MAX_ROWS + 1;
  const shown = rows.slice(0, MAX_ROWS + 1);
  const count = (shown.length - 1).toLocaleString("en");
  return {
    nodes: [tableOf(shown, { class: "preview-table", numbered: true })],
    note: isLong ? t("the first {count} rows", { count }) : t("{count} rows", { count }),
  };
}

function json(text, isCut, note) {
  if (isCut) return lines(text, note);
  try {
    JSON.parse(text);
  } catch {
    return lines(text, t("not valid JSON: shown as it is"));
  }
  return lines(indented(text), note);
}

/** Return valid JSON with one member on each line. Numbers stay as they were written. */
function indented(text) {
  const tokens = text.match(/"[^"\\]*(?:\\.[^"\\]*)*"|[[\]{},:]|[^\s[\]{},:"]+/g) ?? [];
  const parts = [];
  let depth = 0;
  let height = 0;
  const newLine = () => {
    height += 1;
    parts.push(`\n${"  ".repeat(Math.min(depth, MAX_INDENT))}`);
  };
  for (const [index, token] of tokens.entries()) {
    const closes = /^[\]}]$/.test(token);
    if (closes) depth -= 1;
    if (closes && !/^[[{]$/.test(tokens[index - 1])) newLine();
    parts.push(token === ":" ? ": " : token);
    if (/^[[{]$/.test(token)) {
      depth += 1;
      if (!/^[\]}]$/.test(tokens[index + 1])) newLine();
    } else if (token === ",") {
      newLine();
    }
    if (height > MAX_LINES) break;
  }
  return parts.join("");
}

/** Show text line by line; with `isLog`, colours and carriage returns are those of a terminal. */
function lines(text, note, isLog = false) {
  const all = text.replace(/\n$/, "").split("\n");
  const shown = all.slice(0, MAX_LINES).map((line) => {
    const whole = isLog ? overwritten(line) : line.replace(/\r$/, "");
    const rest = whole.length - MAX_LINE;
    const start = rest > 0 ? `${whole.slice(0, MAX_LINE)} … ${t("{number} more characters", { number: rest.toLocaleString("en") })}` : whole;
    return kit.element("div", { class: "line" }, ...(isLog ? lineNodes(start) : [start]));
  });
  const isLong = all.length > MAX_LINES;
  return {
    nodes: [kit.element("pre", { class: "text" }, ...shown)],
    note: isLong ? t("the first {number} lines", { number: MAX_LINES.toLocaleString("en") }) : note,
    isWrapped: true,
  };
}
