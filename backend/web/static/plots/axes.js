// Numbers, labels and ranges of the axes of charts. Pure, except for colours and the width of text.

import { t } from "../texts.js";

export const GRIDS = [...Array(10)].flatMap((_, power) => [1, 2, 5].map((digit) => digit * 10 ** power));
const DAY = 86_400;
const DURATIONS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200,
  10_800, 21_600, 43_200, ...GRIDS.slice(0, 18).map((days) => days * DAY)];

export const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const isExtreme = (value) => value !== 0 && (Math.abs(value) >= 1e6 || Math.abs(value) < 1e-4);

/** Return a number with four significant digits. */
export function formatted(value) {
  if (value == null) return "–";
  const rounded = Number(value.toPrecision(4));
  return isExtreme(rounded) ? rounded.toExponential() : rounded.toString();
}

/** Return the labels of a value axis: as few digits as tell neighbouring ticks apart. */
export function axisLabels(ticks, step) {
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
export function axisWidth(plot, labels, index, cycle) {
  const axis = plot.axes[index];
  if (cycle > 1) return axis._size; // or uPlot would measure again and again
  plot.ctx.font = axis.font[0];
  const longest = Math.max(0, ...(labels ?? []).map((label) => plot.ctx.measureText(label).width));
  return Math.ceil(axis.ticks.size + axis.gap + longest / devicePixelRatio);
}

/** Return the range of a value axis; a constant is drawn in the middle of it. */
export function valueRange(plot, low, high) {
  if (low == null) return [0, 1];
  if (low !== high) return uPlot.rangeNum(low, high, 0.1, true);
  const margin = Math.abs(low) / 10 || 1;
  return [low - margin, high + margin];
}

const two = (number) => String(number).padStart(2, "0");

/** Return a time of day, with the date if ticks are a day or more apart, in the reader's time zone. */
function clock(seconds, step) {
  const time = new Date(seconds * 1000);
  const date = `${two(time.getMonth() + 1)}-${two(time.getDate())}`;
  if (step >= DAY) return date;
  const text = `${two(time.getHours())}:${two(time.getMinutes())}`;
  return step < 60 ? `${text}:${two(time.getSeconds())}` : text;
}

/** Return a duration: 45 s, 2:05 min, 3:20 h, 2 d 4 h. */
export function duration(seconds) {
  if (seconds < 60) return t("{number} s", { number: Number(seconds.toPrecision(3)) });
  const [large, small] = seconds < 3600 ? [60, 1] : [3600, 60];
  const whole = Math.floor(seconds / large + 1e-9);
  if (seconds >= DAY) {
    const days = t("{number} d", { number: Math.floor(whole / 24) });
    return whole % 24 ? `${days} ${t("{number} h", { number: whole % 24 })}` : days;
  }
  const number = `${whole}:${two(Math.round((seconds - whole * large) / small) % 60)}`;
  return seconds < 3600 ? t("{number} min", { number }) : t("{number} h", { number });
}

/** How to draw the x axis: by epoch, by seconds of training, or by time. */
export const X_AXES = {
  epoch: { name: t("epoch"), incrs: GRIDS, label: String, values: (plot, ticks) => ticks.map((tick) => tick ?? "") },
  relative: {
    name: t("after"),
    incrs: DURATIONS,
    label: duration,
    values: (plot, ticks) => ticks.map((tick) => (tick == null ? "" : duration(tick))),
  },
  time: {
    name: t("time"),
    incrs: DURATIONS,
    label: (seconds) => {
      const time = new Date(seconds * 1000);
      return `${time.getFullYear()}-${clock(seconds, DAY)} ${clock(seconds, 1)}`;
    },
    values: (plot, ticks, axis, space, step) => {
      let date = "";
      return ticks.map((tick) => {
        const day = clock(tick, DAY);
        const text = step >= DAY || day === date ? clock(tick, step) : `${clock(tick, step)}\n${day}`;
        date = day;
        return text;
      });
    },
  },
};
