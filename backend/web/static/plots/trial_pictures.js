// Pictures in which each trial of a sweep is a dot or a line: the one near the cursor is named, and opens on a click.

import { formatted } from "./axes.js";
import { kit } from "../kit.js";
import { nameOf, openTrial } from "./trial_curves.js";

const NEAR = 12; // units of the picture from the cursor to a trial that it points to
const SVG = "http://www.w3.org/2000/svg";

/** Point at trials in all pictures of the page, which a refresh replaces; `curves` knows what they are. */
export function pointAtTrials(curves) {
  let pointed = null;
  document.addEventListener("pointermove", ({ target, clientX, clientY }) => {
    const picture = target.closest?.(".trials-plot");
    const found = picture ? nearest(marksOf(picture), inside(picture, clientX, clientY)) : null;
    if (found === pointed) return;
    pointed = found;
    for (const old of kit.findAll(".picture .above")) old.remove();
    for (const label of kit.findAll(".pictures .pointed")) label.textContent = "";
    if (!found) return;
    picture.after(above(picture, found));
    kit.find(".pointed", picture.closest("section")).textContent = description(found.name, curves.trial(found.name));
  });
  document.addEventListener("click", ({ target }) => {
    if (pointed && target.closest(".trials-plot")) openTrial(pointed.name);
  });
}

/** Return a picture that shows one mark, to lie above the whole, which then need not be drawn again. */
function above(picture, { kind, path }) {
  const cover = document.createElementNS(SVG, "svg");
  cover.setAttribute("class", "above");
  cover.setAttribute("viewBox", picture.getAttribute("viewBox"));
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("class", kind);
  line.setAttribute("d", path);
  cover.append(line);
  return cover;
}

/** Return what a trial is, in words. */
export function description(name, trial) {
  if (!trial) return name;
  const values = Object.entries(trial.parameters).map(([key, value]) =>
    `${key} ${typeof value === "number" ? formatted(value) : value}`);
  return `${nameOf(trial)}: ${formatted(trial.best)}, ${values.join(", ")}`;
}

const known = new WeakMap(); // the marks of a picture

function marksOf(picture) {
  if (!known.has(picture)) {
    known.set(picture, kit.findAll("path[data-names]", picture).flatMap((layer) =>
      marks(layer.getAttribute("d"), layer.dataset.names, layer.classList.contains("lines") ? "lines" : "dots")));
  }
  return known.get(picture);
}

/** Return the marks of a layer: [{ name, kind, path, points }]. */
export function marks(path, names, kind) {
  const paths = path.split("M").slice(1).map((text) => `M${text}`);
  return names.split("\n").map((name, index) => {
    const numbers = paths[index].match(/-?[0-9.]+/g).map(Number);
    const points = [];
    for (let each = 0; each + 1 < numbers.length; each += 2) points.push([numbers[each], numbers[each + 1]]);
    return { name, kind, path: paths[index], points };
  });
}

/** Return the mark nearest to a place, or null; of several at the same distance, the one on top. */
export function nearest(found, [x, y]) {
  let best = null;
  let least = NEAR;
  for (const mark of found) {
    const away = distance(mark.points, x, y);
    if (away <= least) [best, least] = [mark, away];
  }
  return best;
}

function distance(points, x, y) {
  let least = Math.hypot(points[0][0] - x, points[0][1] - y);
  for (let index = 1; index < points.length; index += 1) {
    const [[left, low], [right, high]] = [points[index - 1], points[index]];
    const [across, up] = [right - left, high - low];
    const share = Math.min(1, Math.max(0, ((x - left) * across + (y - low) * up) / (across * across + up * up || 1)));
    least = Math.min(least, Math.hypot(left + share * across - x, low + share * up - y));
  }
  return least;
}

function inside(picture, x, y) {
  const place = new DOMPoint(x, y).matrixTransform(picture.getScreenCTM().inverse());
  return [place.x, place.y];
}
