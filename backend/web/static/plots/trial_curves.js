// The curves of all trials of a sweep in one chart, the pruned ones faint (uPlot draws its axes).

import { axisLabels, axisWidth, color, formatted, GRIDS } from "./axes.js";
import { kit } from "../kit.js";
import { t } from "../texts.js";

const LOG_RATIO = 5; // an axis whose values differ by more is logarithmic, if all are positive
const NEAR = 24; // pixels from the cursor to a curve that it points to
const HEIGHT = 290;

export class TrialCurves {
  #trials = new Map(); // by number
  #plot = null;
  #kind = "";
  #pointed = null;

  constructor(box) {
    this.box = box;
    this.url = box.dataset.url;
    new ResizeObserver(() => {
      if (this.#plot && this.#width !== this.#plot.width) this.#plot.setSize({ width: this.#width, height: HEIGHT });
    }).observe(box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw(true));
    box.addEventListener("click", () => this.#pointed && openTrial(this.#pointed.experiment_id));
  }

  /** Return a trial by its experiment_id, if its curve was read. */
  trial(experimentId) {
    return [...this.#trials.values()].find(({ experiment_id: id }) => id === experimentId);
  }

  /** Read what may have changed: all curves if `whole`, or those from the first live trial on. */
  async update(whole) {
    const live = [...this.#trials.values()].find(({ outcome }) => LIVE.has(outcome));
    const first = whole ? 1 : live?.number ?? Math.max(0, ...this.#trials.keys()) + 1;
    let answer;
    do {
      answer = await (await kit.request(`${this.url}?first=${Math.min(first, 9999)}`)).json();
    } while (!answer.complete);
    if (whole) this.#trials.clear();
    for (const trial of answer.trials) this.#trials.set(trial.number, prepared(trial));
    if (whole || answer.trials.length) this.#draw(false);
  }

  get #width() {
    return Math.max(200, this.box.clientWidth);
  }

  #draw(anew) {
    const drawn = [...this.#trials.values()].filter(({ value }) => value.length);
    kit.find("#no-curves").hidden = drawn.length > 0;
    this.box.hidden = !drawn.length;
    if (!drawn.length) return;
    const ranges = extent(drawn);
    const kind = JSON.stringify([ranges.log]);
    const data = [ranges.x, ranges.y];
    [this.drawn, this.isLog] = [drawn, ranges.log];
    if (this.#plot && kind === this.#kind && !anew) {
      this.#plot.setData(data, !this.#plot.isZoomed);
      this.#plot.redraw();
      return;
    }
    this.#plot?.destroy();
    this.#kind = kind;
    this.#plot = new uPlot(this.#options(ranges.log), data, this.box);
  }

  #options(log) {
    const grid = {
      stroke: color("--quiet"),
      grid: { stroke: color("--line"), width: 1 },
      ticks: { stroke: color("--line"), width: 1 },
    };
    return {
      width: this.#width,
      height: HEIGHT,
      series: [{}, { paths: () => null, points: { show: false } }],
      axes: [
        { ...grid, incrs: GRIDS, space: 50, size: 30 },
        { ...grid, size: axisWidth, values: (plot, ticks, index, space, step) => axisLabels(ticks, log ? 0 : step) },
      ],
      scales: { x: { time: false }, y: log ? { distr: 3 } : {} },
      legend: { show: false },
      cursor: { points: { show: false }, y: false, drag: { x: true, y: false } },
      hooks: {
        draw: [(plot) => this.#strokeAll(plot, log)],
        setScale: [(plot, key) => { if (key === "x") plot.isZoomed = isZoomed(plot); }],
        setCursor: [(plot) => this.#point(plot)],
      },
    };
  }

  /** Draw the curves: the faint ones first. */
  #strokeAll(plot, log) {
    const { ctx, bbox } = plot;
    const place = placing(plot, log);
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.lineJoin = "round";
    const pruned = this.drawn.filter(({ outcome }) => outcome === "pruned");
    const others = this.drawn.filter(({ outcome }) => outcome !== "pruned" && !LIVE.has(outcome));
    const live = this.drawn.filter(({ outcome }) => LIVE.has(outcome));
    stroke(ctx, place, pruned, { stroke: color("--quiet"), alpha: 0.22, width: 1 });
    stroke(ctx, place, others, { stroke: color("--series-1"), alpha: 0.6, width: 1.2 });
    stroke(ctx, place, live, { stroke: color("--series-2"), alpha: 0.9, width: 1.6 });
    ctx.restore();
    this.#highlight(plot);
  }

  /** Draw the curve that is pointed at on a canvas of its own, so that the others need not be drawn again. */
  #highlight(plot) {
    const canvas = kit.find("canvas.above", plot.over) ?? kit.element("canvas", { class: "above" });
    if (!canvas.parentElement) plot.over.prepend(canvas);
    const { width, height, left, top } = plot.bbox;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const ctx = canvas.getContext("2d");
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.clearRect(0, 0, width, height);
    if (!this.#pointed) return;
    ctx.translate(-left, -top);
    ctx.lineJoin = "round";
    stroke(ctx, placing(plot, this.isLog), [this.#pointed], { stroke: color("--text"), alpha: 1, width: 2.5 });
  }

  /** Name the curve near the cursor, and its value there. */
  #point(plot) {
    const { left, top } = plot.cursor;
    const near = left >= 0 && this.drawn ? nearest(this.drawn, plot, left, top) : null;
    const text = near ? t("{trial}: {value} at epoch {epoch}", {
      trial: nameOf(near.trial), value: formatted(near.trial.value[near.row]), epoch: near.trial.epoch[near.row],
    }) : "";
    const label = kit.find(".pointed", this.box.closest("section"));
    if (label.textContent !== text) label.textContent = text;
    this.box.style.cursor = near ? "pointer" : "";
    if (near?.trial === this.#pointed) return;
    this.#pointed = near?.trial ?? null;
    this.#highlight(plot);
  }
}

/** Open the page of a trial. */
export function openTrial(experimentId) {
  location.href = kit.address(`/ui/experiments/${encodeURIComponent(experimentId)}`);
}

/** Return the id of a trial, and that it was pruned. */
export function nameOf({ experiment_id: name, outcome }) {
  return outcome === "pruned" ? t("{trial} (pruned)", { trial: name }) : name;
}

const LIVE = new Set(["submitting", "queued", "running"]);

/** Return a trial without the rows that have no value. */
function prepared(trial) {
  const rows = trial.value.map((value, row) => row).filter((row) => trial.value[row] != null);
  return { ...trial, epoch: rows.map((row) => trial.epoch[row]), value: rows.map((row) => trial.value[row]) };
}

/** Return the ranges of all curves, and whether the values need a logarithmic axis. */
export function extent(trials) {
  let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const { epoch, value } of trials) {
    left = Math.min(left, epoch[0]);
    right = Math.max(right, epoch.at(-1));
    for (const one of value) {
      if (one < low) low = one;
      if (one > high) high = one;
    }
  }
  if (left === right) [left, right] = [left - 1, right + 1];
  if (low === high) [low, high] = [low - (Math.abs(low) / 10 || 1), high + (Math.abs(high) / 10 || 1)];
  return { x: [left, right], y: [low, high], log: low > 0 && high / low >= LOG_RATIO };
}

const isZoomed = (plot) => plot.scales.x.min > plot.data[0][0] || plot.scales.x.max < plot.data[0][1];

/** Return functions from values to pixels of the canvas, faster than uPlot's for 20,000 points. */
function placing(plot, log) {
  const { bbox, scales: { x, y } } = plot;
  const scaled = log ? Math.log : (value) => value;
  const [low, high] = [scaled(y.min), scaled(y.max)];
  const [across, up] = [bbox.width / (x.max - x.min), bbox.height / (high - low)];
  const bottom = bbox.top + bbox.height;
  return {
    x: (value) => bbox.left + (value - x.min) * across,
    y: (value) => bottom - (scaled(value) - low) * up,
  };
}

function stroke(ctx, place, trials, { stroke: style, alpha, width }) {
  Object.assign(ctx, { strokeStyle: style, globalAlpha: alpha, lineWidth: width * devicePixelRatio });
  for (const { epoch, value } of trials) {
    ctx.beginPath();
    ctx.moveTo(place.x(epoch[0]), place.y(value[0]));
    for (let row = 1; row < epoch.length; row += 1) ctx.lineTo(place.x(epoch[row]), place.y(value[row]));
    if (epoch.length === 1) ctx.lineTo(place.x(epoch[0]) + 2, place.y(value[0]));
    ctx.stroke();
  }
}

/** Return the trial whose curve is nearest to a place in CSS pixels, and its row there; or null. */
function nearest(trials, plot, left, top) {
  const epoch = plot.posToVal(left, "x");
  let found = null;
  let distance = NEAR;
  for (const trial of trials) {
    const row = rowAt(trial.epoch, epoch);
    const away = Math.hypot(plot.valToPos(trial.epoch[row], "x") - left, plot.valToPos(trial.value[row], "y") - top);
    if (away < distance) [found, distance] = [{ trial, row }, away];
  }
  return found;
}

/** Return the row whose epoch is nearest. */
export function rowAt(epochs, epoch) {
  let [low, high] = [0, epochs.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (epochs[middle] < epoch) low = middle + 1;
    else high = middle;
  }
  return low > 0 && epoch - epochs[low - 1] < epochs[low] - epoch ? low - 1 : low;
}
