// Charts of metrics: one panel for each, with a common x axis, zoom and cursor (uPlot).

import { X_AXES, axisLabels, axisWidth, color, formatted, valueRange } from "./axes.js";
import { kit } from "../kit.js";
import { drawable, last, smoothed } from "./series.js";
import { keepInAddress } from "../settings.js";
import { t } from "../texts.js";

const COLORS = 8;
const DASHES = [[], [8, 4], [2, 3]];
const FEW = 3; // lines whose values a legend shows
const NONE_POSITIVE = t("A log axis shows only values above 0, and there are none.");
const NOT_FINITE = t("There is no finite value.");

const NO_TOOLS = {
  axis: { value: "relative", options: [] },
  smooth: { value: "0" }, smoothed: {}, logX: {}, logY: {}, reset: {},
};

/** Draw panels in `box`. They have a zoom of their own, by dragging and a double click. */
export class Charts {
  #panels = new Map(); // by metric
  #zoom = null; // null, or the first and the last x shown

  /** `changed` is called when a tool of the page asks for other data; without it there are no tools. */
  constructor(box, changed = null) {
    this.box = box;
    Object.assign(this, changed ? this.#tools(changed) : structuredClone(NO_TOOLS));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
    this.seen = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const panel = [...this.#panels.values()].find(({ figure }) => figure === target);
        if (panel) panel.inView(isIntersecting);
      }
    }, { rootMargin: "200px" });
    this.sized = new ResizeObserver(() => this.#panels.forEach((panel) => panel.resize()));
    this.sized.observe(this.box);
  }

  #tools(changed) {
    const reset = kit.find("#reset");
    reset.addEventListener("click", () => this.zoom(null));
    return {
      axis: keepInAddress("#axis", "axis", () => { this.#zoom = null; changed(); }),
      smooth: keepInAddress("#smooth", "smooth", () => this.redraw()),
      smoothed: kit.find("#smoothed"),
      logY: keepInAddress("#log-axis", "log", () => this.redraw()),
      logX: keepInAddress("#log-x", "logx", () => { this.#zoom = null; this.redraw(); }),
      reset,
    };
  }

  /**
   * Show panels: [{ name, note, mark, lines: [{ label, place, x, y, best }] }]. `mark` is an x, `best` a row.
   * `times` says whether the curves have times.
   */
  show(panels, times) {
    for (const option of this.axis.options) option.disabled = option.value !== "epoch" && !times;
    this.hasTimes = Boolean(times);
    const drawn = panels.map((panel) => ({ ...panel, lines: panel.lines.filter(({ x }) => x.length) }))
      .filter(({ lines }) => lines.length);
    const names = new Set(drawn.map(({ name }) => name));
    for (const [name, panel] of this.#panels) {
      if (!names.has(name)) this.#remove(name, panel);
    }
    for (const panel of drawn) {
      if (!this.#panels.has(panel.name)) this.#add(panel.name);
      this.#panels.get(panel.name).data = panel;
    }
    this.#order([...names]);
    if (drawn.length) this.box.setAttribute("aria-label", description(drawn[0].lines));
    this.redraw();
  }

  /** Draw again what is shown, by the settings of now. */
  redraw() {
    const axis = this.hasTimes ? this.axis.value : "epoch";
    const isTime = axis === "time";
    this.logX.disabled = isTime;
    this.reset.disabled = !this.#zoom;
    this.smoothed.textContent = this.smooth.value;
    this.settings = {
      axis, weight: Number(this.smooth.value),
      logX: this.logX.checked && !isTime, logY: this.logY.checked,
    };
    this.#panels.forEach((panel) => panel.draw());
  }

  /** Show a part of the x axis in all panels, or all of it (null). */
  zoom(range) {
    this.#zoom = range;
    this.reset.disabled = !range;
    this.#panels.forEach((panel) => panel.applyRange());
  }

  /** The first and the last x to show. */
  get range() {
    if (this.#zoom) return this.#zoom;
    const { logX } = this.settings;
    let [low, high] = [Infinity, -Infinity];
    for (const { data } of this.#panels.values()) {
      for (const { x } of data.lines) {
        const first = logX ? x.find((value) => value > 0) ?? Infinity : x[0];
        [low, high] = [Math.min(low, first), Math.max(high, x.at(-1))];
      }
    }
    if (low < high) return [low, high];
    return logX ? [low / 2, low * 2] : [low - 1, low + 1];
  }

  #add(name) {
    const panel = new Panel(this, name);
    this.#panels.set(name, panel);
    this.box.append(panel.figure);
    this.seen.observe(panel.figure);
  }

  #remove(name, panel) {
    this.#panels.delete(name);
    this.seen.unobserve(panel.figure);
    panel.close();
  }

  #order(names) {
    const figures = names.map((name) => this.#panels.get(name).figure);
    if (figures.some((figure, index) => this.box.children[index] !== figure)) this.box.append(...figures);
  }
}

const description = (lines) => lines.map(({ label, y, epoch }) => {
  const value = last(y) ?? t("not finite");
  return epoch ? t("{name} {value} at epoch {epoch}", { name: label, value, epoch: epoch.at(-1) }) : `${label} ${formatted(value)}`;
}).join(", ");

/** The chart of one metric. It is drawn when it is in view. */
class Panel {
  #plot = null;
  #drawn = "";
  #isInView = false;
  #pointedLine = null;

  constructor(charts, name) {
    const { element } = kit;
    this.charts = charts;
    this.note = element("span", { class: "quiet" });
    this.pointed = element("span", { class: "quiet pointed" }); // the line near the cursor
    this.place = element("div", { class: "plot", role: "img", "aria-label": name });
    this.empty = element("p", { class: "quiet", hidden: "" });
    this.figure = element("figure", { class: "panel", "data-metric": name },
      element("figcaption", {}, element("span", { class: "metric" }, name), " ", this.note, " ", this.pointed),
      this.place, this.empty);
  }

  inView(isInView) {
    this.#isInView = isInView;
    if (isInView) this.draw();
  }

  draw() {
    const { lines, note } = this.data;
    if (this.note.textContent !== note) this.note.textContent = note;
    this.place.setAttribute("aria-label", description(lines));
    if (!this.#isInView) return;
    const { axis, weight, logX, logY } = this.charts.settings;
    const isDrawn = (value) => drawable(value, logY) !== null;
    const isEmpty = !lines.some(({ y }) => y.some(isDrawn));
    this.empty.hidden = !isEmpty;
    this.empty.textContent = logY ? NONE_POSITIVE : NOT_FINITE;
    if (isEmpty) return this.#clear();
    const data = uPlot.join(lines.map(({ x, y }) => {
      const from = logX ? x.findIndex((value) => value > 0) : 0;
      const rows = (values) => (from < 0 ? [] : values.slice(from));
      const shown = rows(y).map((value) => drawable(value, logY));
      return weight ? [rows(x), shown, smoothed(shown, weight)] : [rows(x), shown];
    }));
    if (!data[0].length) return this.#clear();
    const kind = JSON.stringify([lines.map(({ label, place }) => [label, place]), axis, Boolean(weight), logX, logY,
      color("--line"), data[0].length < 2, this.#isFirst]);
    if (this.#plot && kind === this.#drawn) {
      this.#plot.setData(data, false);
    } else {
      this.#clear();
      this.#drawn = kind;
      this.#plot = new uPlot(this.#options(), data, this.place);
    }
    this.applyRange();
  }

  applyRange() {
    const [min, max] = this.#plot ? this.charts.range : [];
    this.#plot?.batch(() => {
      this.#plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      this.#plot.setScale("x", { min, max });
    });
  }

  resize() {
    if (this.#plot && this.#width !== this.#plot.width) this.#plot.setSize(this.#size);
  }

  close() {
    this.#clear();
    this.figure.remove();
  }

  #clear() {
    this.#plot?.destroy();
    [this.#plot, this.#drawn] = [null, ""];
  }

  get #width() {
    return Math.max(200, this.place.clientWidth);
  }

  get #isFirst() {
    return this.charts.box.firstElementChild === this.figure;
  }

  get #size() {
    return { width: this.#width, height: this.#isFirst && this.#width > 500 ? 300 : 200 };
  }

  #options() {
    const { axis, logX, logY } = this.charts.settings;
    const x = X_AXES[axis];
    const lines = { stroke: color("--line"), width: 1 };
    const grid = { stroke: color("--quiet"), grid: lines, ticks: lines };
    const isMany = this.data.lines.length > FEW;
    const xValues = logX ? (plot, ticks) => ticks.map((tick) => (tick == null ? "" : x.label(tick))) : x.values;
    return {
      ...this.#size,
      series: [
        { label: x.name, value: (plot, value) => x.label(value ?? plot.data[0].at(-1)) },
        ...this.data.lines.flatMap((line) => this.#series(line)),
      ],
      axes: [
        {
          ...grid, ...(logX ? {} : { incrs: x.incrs }), values: xValues,
          space: axis === "epoch" ? 50 : 72, size: axis === "time" ? 44 : 30,
        },
        {
          ...grid, size: axisWidth,
          values: (plot, ticks, index, space, step) => axisLabels(ticks, logY ? 0 : step),
        },
      ],
      scales: {
        x: logX ? { time: false, distr: 3 } : { time: false },
        y: logY ? { distr: 3 } : { range: valueRange },
      },
      legend: {
        show: !isMany || this.#isFirst, live: !isMany,
        markers: { dash: (plot, index) => ["solid", "dashed", "dotted"][DASHES.indexOf(plot.series[index].dash)] ?? "solid" },
      },
      focus: { alpha: isMany ? 0.25 : 1 },
      cursor: {
        drag: { x: true, y: false, setScale: false },
        focus: { prox: 16 },
        sync: {
          key: this.charts.box.id, scales: ["x", null], setSeries: false,
          filters: { pub: (type) => type === "mousemove" || type === "mouseleave" },
        },
        bind: { dblclick: () => () => this.charts.zoom(null) },
      },
      hooks: {
        setSelect: [(plot) => {
          const { left, width } = plot.select;
          if (width > 0) this.charts.zoom([plot.posToVal(left, "x"), plot.posToVal(left + width, "x")]);
        }],
        setSeries: [(plot, line) => { this.#pointedLine = line; }],
        setCursor: [(plot) => isMany && this.#tellPointed(plot)],
        draw: [(plot) => this.#drawMarks(plot)],
      },
    };
  }

  /** Return how to draw a line: as it is, or faintly behind its smoothed self. */
  #series({ label, short = label, place, y }) {
    const { weight, logY } = this.charts.settings;
    const line = {
      label: short, width: 1.8, spanGaps: true,
      stroke: color(`--series-${(place % COLORS) + 1}`), dash: DASHES[Math.floor(place / COLORS)],
      points: { show: y.filter((value) => drawable(value, logY) !== null).length < 2 },
      value: (plot, value, index, row) => formatted(row == null ? last(plot.data[index]) : value),
    };
    if (!weight) return [line];
    return [{ ...line, class: "raw", width: 1, dash: [], alpha: 0.3 }, line];
  }

  /** Name the line near the cursor, and its value there. */
  #tellPointed(plot) {
    const row = plot.cursor.idx;
    const line = this.#pointedLine;
    const value = line && row != null ? plot.data[line][row] : null;
    const { label } = X_AXES[this.charts.settings.axis];
    const text = value == null ? "" : t("{name}: {value} at {place}",
      { name: plot.series[line].label, value: formatted(value), place: label(plot.data[0][row]) });
    if (this.pointed.textContent !== text) this.pointed.textContent = text;
  }

  #drawMarks(plot) {
    const { ctx, bbox } = plot;
    const { mark, lines } = this.data;
    const inside = (x) => x >= plot.scales.x.min && x <= plot.scales.x.max;
    ctx.save();
    if (mark != null && inside(mark)) {
      const at = Math.round(plot.valToPos(mark, "x", true));
      ctx.strokeStyle = color("--quiet");
      ctx.setLineDash([4, 4]);
      ctx.beginPath();
      ctx.moveTo(at, bbox.top);
      ctx.lineTo(at, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.setLineDash([]);
    ctx.lineWidth = 2 * devicePixelRatio;
    ctx.fillStyle = color("--card");
    for (const { x, y, best = -1, place } of lines) {
      const value = drawable(y[best], this.charts.settings.logY);
      if (value === null || !inside(x[best])) continue;
      ctx.strokeStyle = color(`--series-${(place % COLORS) + 1}`);
      ctx.beginPath();
      ctx.arc(plot.valToPos(x[best], "x", true), plot.valToPos(value, "y", true), 4 * devicePixelRatio, 0, 2 * Math.PI);
      ctx.fill();
      ctx.stroke();
    }
    ctx.restore();
  }
}
