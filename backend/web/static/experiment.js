// The page of one experiment and the comparison of several: curves (uPlot), log, file previews.

const MAX_LOG_LINES = 5000; // shown in the page
const MAX_CURVE_POINTS = 2000;
const MAX_PREVIEW_BYTES = 5_000_000;
const MAX_PREVIEW_ROWS = 5;
const MAX_PREVIEW_COLUMNS = 50;
const BINS = 40;
const SVG = "http://www.w3.org/2000/svg";

let kit; // the functions of dashboard.js: importing that script here would run it a second time

/** Start the page. Returns how dashboard.js refreshes it, and whether anything on it is live. */
export function start(tools) {
  kit = tools;
  return document.body.dataset.page === "experiment" ? startExperiment() : startComparison();
}

function startExperiment() {
  const { find, on } = kit;
  const state = () => find("#diagnosis").dataset;
  const curve = new Curve(find("#chart").dataset.url);
  const show = makeChart(find("#chart"));
  const draw = () => {
    const base = offerMetrics([curve], draw);
    const names = [base, `val_${base}`].filter((name) => curve.metrics[name]);
    show(names.map((label) => ({ label, x: curve.epoch, y: curve.metrics[label] })));
  };
  let shownAttempt = state().attempt;
  let log = followLog(shownAttempt);
  on("#attempt", "change", ({ target }) => {
    log.close();
    log = followLog(target.value);
  });
  document.addEventListener("visibilitychange", () => {
    log.close(); // a browser opens at most six connections to a server, for all its tabs together
    if (!document.hidden) log = followLog(find("#attempt")?.value ?? shownAttempt);
  });
  const shownFiles = new Map();

  return {
    live: () => state().live === "true",
    async refresh(whole) {
      kit.replaceParts(await kit.fetchPage(location.href));
      if (state().attempt !== shownAttempt) {
        if (!find("#attempt")) location.reload(); // the second attempt adds the choice of attempts
        shownAttempt = state().attempt;
        log.close();
        log = followLog(shownAttempt);
      } else {
        log.refresh();
      }
      await curve.update(whole);
      draw();
      await showPreviews(shownFiles, state().live === "true");
    },
  };
}

function startComparison() {
  const { find, findAll } = kit;
  const curves = findAll("[data-curve]").map((link) => ({
    label: link.textContent, curve: new Curve(link.dataset.curve),
  }));
  const show = makeChart(find("#chart"));
  const draw = () => {
    const base = offerMetrics(curves.map(({ curve }) => curve), draw, false);
    show(curves.map(({ label, curve }) => (
      { label, x: curve.metrics[base] ? curve.epoch : [], y: curve.metrics[base] ?? [] })));
  };
  return {
    live: () => Boolean(find("#facts .chip:is(.running, .queued, .submitting)")),
    async refresh(whole) {
      kit.replaceParts(await kit.fetchPage(location.href));
      await Promise.all(curves.map(({ curve }) => curve.update(whole)));
      draw();
    },
  };
}

/* Curves */

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const GRIDS = [...Array(10)].flatMap((_, power) => [1, 2, 5].map((digit) => digit * 10 ** power));
const isExtreme = (value) => value !== 0 && (Math.abs(value) >= 1e6 || Math.abs(value) < 1e-4);
function formatted(value) {
  if (value == null) return "–";
  const rounded = Number(value.toPrecision(4));
  return isExtreme(rounded) ? rounded.toExponential() : rounded.toString();
}
const last = (values) => values.findLast((value) => value != null);
const drawable = (value, log) => (typeof value === "number" && (!log || value > 0) ? value : null);

/** Return the labels of a value axis: as few digits as tell neighbouring ticks apart. */
function axisLabels(ticks, step) {
  const power = (value) => Math.floor(Math.log10(value) + 1e-9);
  const scientific = isExtreme(Math.max(...ticks.map(Math.abs)));
  const lastDigit = step && power(step) - ((step / 10 ** power(step)) % 1 > 1e-6 ? 1 : 0); // of 0.25: -2
  return ticks.map((tick) => {
    if (tick == null) return "";
    if (!step) return formatted(tick); // a log axis
    if (Math.abs(tick) < step / 2) return "0";
    const digits = (scientific ? power(Math.abs(tick)) : 0) - lastDigit;
    const places = Math.min(Math.max(0, digits), 15);
    return scientific ? tick.toExponential(places) : tick.toFixed(places);
  });
}

/** Return the width that the labels of a value axis need, in CSS pixels. */
function axisWidth(plot, labels, index, cycle) {
  const axis = plot.axes[index];
  if (cycle > 1) return axis._size; // or uPlot would measure again and again
  plot.ctx.font = axis.font[0];
  const longest = Math.max(0, ...(labels ?? []).map((label) => plot.ctx.measureText(label).width));
  return Math.ceil(axis.ticks.size + axis.gap + longest / devicePixelRatio);
}

/** Return the range of a value axis; a constant is drawn in the middle of it. */
function valueRange(plot, low, high) {
  if (low == null) return [0, 1];
  if (low !== high) return uPlot.rangeNum(low, high, 0.1, true);
  const margin = Math.abs(low) / 10 || 1;
  return [low - margin, high + margin];
}

/** Return a function that draws lines ([{label, x, y}]) in `box`. */
function makeChart(box) {
  let plot = null;
  let drawn = "";
  let lines = [];
  const { find, on } = kit;
  const log = find("#log-axis");
  const width = () => Math.max(200, box.clientWidth || box.parentElement.clientWidth - 40);
  const size = () => ({ width: width(), height: width() < 500 ? 240 : 320 });
  const axis = () => ({
    stroke: color("--quiet"), grid: { stroke: color("--line"), width: 1 },
    ticks: { stroke: color("--line"), width: 1 },
  });

  function options() {
    const series = lines.map(({ label, place, y }) => ({
      label, width: 1.8, stroke: color(`--series-${place}`), spanGaps: true,
      points: { show: y.filter((value) => drawable(value, log.checked) !== null).length < 2 },
      value: (plot, value, line, row) => formatted(row == null ? last(plot.data[line]) : value),
    }));
    return {
      ...size(),
      series: [{ label: "epoch", value: (plot, value) => `${value ?? plot.data[0].at(-1)}` }, ...series],
      axes: [
        { ...axis(), incrs: GRIDS },
        {
          ...axis(), size: axisWidth,
          values: (plot, ticks, index, space, step) => axisLabels(ticks, log.checked ? 0 : step),
        },
      ],
      scales: {
        x: { time: false },
        y: log.checked ? { distr: 3 } : { range: valueRange },
      },
      cursor: { drag: { x: true, y: false } },
      hooks: { setScale: [(plot, name) => name === "x" && zoomed(plot)] },
    };
  }

  function zoomed(plot) {
    const [epochs] = plot.data;
    find("#reset").disabled = plot.scales.x.min <= epochs[0] && plot.scales.x.max >= epochs.at(-1);
  }

  function show(next = lines) {
    lines = next.map((line, index) => ({ place: index + 1, ...line })).filter(({ x }) => x.length);
    if (!lines.length) return;
    if (!lines.some(({ y }) => y.some((value) => drawable(value, log.checked) !== null))) {
      find("#no-curve").textContent = log.checked ? "A log axis shows only values above 0, and there are none."
        : "There is no finite value.";
      plot?.destroy();
      [plot, drawn] = [null, ""];
      return;
    }
    const data = uPlot.join(
      lines.map(({ x, y }) => [x, y.map((value) => drawable(value, log.checked))]));
    const kind = JSON.stringify([lines.map(({ label }) => label), log.checked]);
    if (plot && kind === drawn) {
      plot.setData(data, find("#reset").disabled);
      if (!find("#reset").disabled) plot.redraw();
    } else {
      plot?.destroy();
      drawn = kind;
      plot = new uPlot(options(), data, box);
    }
    box.setAttribute("aria-label", lines.map(({ label, x, y }) =>
      `${label} ${last(y) ?? "not finite"} at epoch ${x.at(-1)}`).join(", "));
  }

  const redraw = () => { drawn = ""; show(); };
  log.addEventListener("change", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  on("#reset", "click", () => plot?.setData(plot.data, true));
  new ResizeObserver(() => plot && width() !== plot.width && plot.setSize(size())).observe(box.parentElement);
  return show;
}

/** List the metrics to choose from, losses first; with `paired`, loss and val_loss are one entry. */
function offerMetrics(curves, changed, paired = true) {
  const { find, findAll, element } = kit;
  const select = find("#metric");
  const names = curves.flatMap(({ metrics }) => Object.keys(metrics));
  const bases = [...new Set(names.map((name) => (paired ? name.replace(/^val_/, "") : name)))];
  bases.sort((a, b) => b.includes("loss") - a.includes("loss"));
  const known = findAll("option", select).map((option) => option.value);
  if (bases.join() !== known.join()) {
    const chosen = select.value;
    select.replaceChildren(...bases.map((base) => element("option", {}, base)));
    if (bases.includes(chosen)) select.value = chosen;
    select.onchange = changed;
  }
  select.hidden = bases.length < 2;
  return select.value || bases[0];
}

/** Return an object without a prototype: a trainer may name a metric "constructor". */
const byName = (metrics) => Object.assign(Object.create(null), metrics);

class Curve {
  constructor(url) {
    Object.assign(this, { url, epoch: [], metrics: byName({}), points: 0 });
  }

  /** Fetch new epochs; all of them if `whole`, or if the page holds too many points. */
  async update(whole) {
    const last = this.epoch.at(-1);
    if (whole || last === undefined || this.epoch.length > 2 * MAX_CURVE_POINTS) {
      const query = `max_points=${MAX_CURVE_POINTS}`;
      Object.assign(this, await (await kit.request(`${this.url}?${query}`)).json());
      this.metrics = byName(this.metrics);
      return;
    }
    const curve = await (await kit.request(`${this.url}?since_epoch=${last}`)).json();
    const { epoch, metrics } = { ...curve, metrics: byName(curve.metrics) };
    for (const name of new Set([...Object.keys(this.metrics), ...Object.keys(metrics)])) {
      const before = this.metrics[name] ?? this.epoch.map(() => null);
      this.metrics[name] = before.concat(metrics[name] ?? epoch.map(() => null));
    }
    this.epoch = this.epoch.concat(epoch);
  }
}

/* The log */

/** Show the log of an attempt as it grows, scrolled to its end unless the user has scrolled up. */
function followLog(attempt) {
  const { find } = kit;
  const box = find("#log");
  const url = `${box.dataset.url}?attempt=${attempt}&tail=${MAX_LOG_LINES}`;
  const button = find("#follow");
  const note = find("#log-state");
  let waiting = [];
  let stream = null;
  let cut = false;
  let unfinished = null; // the text so far of a line that has not ended yet, such as a progress bar
  const unfinishedNode = document.createTextNode("");
  box.replaceChildren();
  note.textContent = "";

  const atEnd = () => box.scrollTop + box.clientHeight >= box.scrollHeight - 24;
  const toEnd = () => { box.scrollTop = box.scrollHeight; };
  box.onscroll = () => { if (atEnd()) button.hidden = true; };
  button.onclick = () => { toEnd(); box.focus(); };

  let isDue = false;
  function draw() {
    if (!isDue) requestAnimationFrame(write);
    isDue = true;
  }

  function add(line) {
    unfinished = null;
    draw();
    waiting.push(line);
    if (waiting.length > MAX_LOG_LINES) { // a browser does not draw a page in the background
      waiting = waiting.slice(-MAX_LOG_LINES);
      cut = true;
    }
  }

  function write() {
    const follow = atEnd();
    isDue = false;
    unfinishedNode.remove();
    box.append(...waiting.map((line) => document.createTextNode(`${line}\n`)));
    waiting = [];
    if (unfinished !== null) {
      unfinishedNode.data = unfinished;
      box.append(unfinishedNode);
    }
    while (box.childNodes.length > MAX_LOG_LINES) {
      box.firstChild.remove();
      cut = true;
    }
    if (cut) note.textContent = `the last ${MAX_LOG_LINES.toLocaleString("en")} lines`;
    if (follow) toEnd();
    button.hidden = follow;
  }

  /** Read the log as it is now: the attempt has ended, or the server refused the stream. */
  async function read() {
    const text = await (await kit.request(url)).text();
    const lines = text.replace(/\n$/, "").split("\n").slice(-MAX_LOG_LINES);
    if (!text || box.childNodes.length === lines.length) return;
    box.replaceChildren();
    lines.forEach(add);
  }

  function follow() {
    stream = new EventSource(`${url}&follow=true`);
    stream.addEventListener("message", ({ data }) => add(data));
    stream.addEventListener("progress", ({ data }) => { unfinished = data; draw(); });
    stream.addEventListener("end", () => stream.close());
    stream.addEventListener("error", () => {
      if (stream?.readyState === EventSource.CLOSED) stream = null; // refused: `refresh` reads it instead
    });
  }

  follow();
  return {
    refresh: () => { if (!stream) read().catch(() => {}); },
    close: () => stream?.close(),
  };
}

/* Previews of files */

async function showPreviews(shown, live) {
  const { find, findAll } = kit;
  const links = findAll("#files a[data-size]");
  const isPicture = (link) => /\.(png|jpe?g)$/i.test(link.textContent);
  links.sort((a, b) => isPicture(b) - isPicture(a));
  for (const link of links) {
    const name = link.textContent;
    const size = Number(link.dataset.size);
    const known = `${size} ${live}`; // a live experiment may rewrite a file with the same size
    if (size > MAX_PREVIEW_BYTES || shown.get(name) === known) continue;
    const preview = isPicture(link) ? picture : /\.csv$/i.test(name) ? table : null;
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

function picture(url, name, size) {
  return [kit.element("img", { src: `${url}?size=${size}`, alt: name, loading: "lazy" })];
}

/** Return the rows of CSV text (RFC 4180): quoted cells may hold commas, quotes and line ends. */
function parseCsv(text) {
  const rows = [];
  let row = [];
  let position = text.startsWith("\ufeff") ? 1 : 0;
  const separator = /[,\r\n]/g;
  while (position < text.length) {
    let cell = "";
    while (text[position] === '"') { // a pair of quotes within quotes is one quote
      const quote = text.indexOf('"', position + 1);
      const end = quote < 0 ? text.length : quote;
      cell += text.slice(position + 1, end);
      position = end + 1;
      if (text[position] === '"') cell += '"';
    }
    separator.lastIndex = position;
    const end = separator.exec(text)?.index ?? text.length;
    cell += text.slice(position, end);
    if (row.length < MAX_PREVIEW_COLUMNS) row.push(cell);
    position = end + 1;
    if (text[end] === ",") {
      if (position < text.length) continue;
      if (row.length < MAX_PREVIEW_COLUMNS) row.push("");
    }
    if (text[end] === "\r" && text[position] === "\n") position += 1;
    if (row.length > 1 || row[0] !== "") rows.push(row); // not an empty line
    row = [];
  }
  return rows;
}

/** Show the first rows of a CSV file, and a histogram of its last numeric column. */
async function table(url, name) {
  const [head, ...rows] = parseCsv(await (await kit.request(url)).text());
  if (!head) return [];
  const columns = head.map((_, column) => rows.map((row) => Number(row[column] || NaN)));
  const numeric = columns.findLastIndex((values) => values.length > 1 && values.every(isFinite));
  const { element } = kit;
  const cells = (kind, row) => row.map((cell) => element(kind, kind === "th" ? { scope: "col" } : {}, cell));
  const first = element("table", { class: "preview-table" },
    element("thead", {}, element("tr", {}, ...cells("th", head))),
    element("tbody", {}, ...rows.slice(0, MAX_PREVIEW_ROWS).map(
      (row) => element("tr", {}, ...cells("td", row)))));
  const scroll = { class: "table-scroll", tabindex: "0", role: "region", "aria-label": `First rows of ${name}` };
  return [...(numeric < 0 ? [] : histogram(columns[numeric], head[numeric])), element("div", scroll, first)];
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
    "aria-label": `${name}: ${values.length} values from ${short(low)} to ${short(high)}`,
  });
  counts.forEach((count, index) => {
    const height = (100 * count) / most;
    const bar = svg("rect", { x: index * 10 + 0.5, y: 100 - height, width: 9, height });
    const from = low + (index * (high - low)) / BINS;
    const title = svg("title", {});
    title.textContent = `${count} from ${short(from)} to ${short(from + (high - low) / BINS)}`;
    bar.append(title);
    drawing.append(bar);
  });
  const { element } = kit;
  return [drawing, element("div", { class: "range quiet" },
    element("span", {}, short(low)), element("span", {}, `${name}, ${values.length} values`),
    element("span", {}, short(high)))];
}

function svg(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}
