// The comparison of several experiments.

import { formatted } from "./plots/axes.js";
import { Charts } from "./plots/charts.js";
import { Curve, MAX_CURVE_POINTS } from "./plots/curve.js";
import { kit, setKit } from "./kit.js";
import { bestRow, inOrder } from "./plots/series.js";
import { t } from "./texts.js";

/** Start the page. Returns how dashboard.js refreshes it, and whether anything on it is live. */
export function start(functions) {
  setKit(functions);
  const { find, findAll } = kit;
  const links = () => findAll("[data-curve]");
  const share = Math.max(200, MAX_CURVE_POINTS / links().length);
  const shortOf = (link) => (link.children.length ? `…${link.lastChild.textContent}` : link.textContent);
  const curves = links().map((link, place) => ({
    label: link.title, short: shortOf(link), place, curve: new Curve(link.dataset.curve, Math.floor(share)),
  }));
  const charts = new Charts(kit.find("#chart"), draw);

  function draw() {
    const objectives = links().map(({ dataset }) => dataset);
    const names = new Set(curves.flatMap(({ curve }) => Object.keys(curve.metrics)));
    const times = curves.some(({ curve }) => curve.elapsed.length);
    const axis = times ? charts.axis.value : "epoch";
    const order = inOrder(names, objectives.map(({ objective }) => objective));
    charts.show(order.map((name) => {
      const lines = curves.filter(({ curve }) => curve.metrics[name]).map(({ label, short, place, curve }) => {
        const y = curve.metrics[name];
        const { objective, goal } = objectives[place];
        const best = objective === name ? bestRow(y, goal) : -1;
        return { label, short, place, x: curve.x(axis), y, epoch: curve.epoch, best };
      });
      const missing = lines.filter(({ x, epoch }) => !x.length && epoch.length).length;
      return { name, lines, note: missing ? t("{number} without times", { number: missing }) : bestOf(lines, objectives) };
    }), times);
  }

  return {
    live: () => Boolean(find("#facts [data-live]")),
    async refresh(whole) {
      kit.replaceParts(await kit.fetchPage(location.href));
      await Promise.all(curves.map(({ curve }) => curve.update(whole)));
      draw();
    },
  };
}

/** Return a text that names the best of all experiments, if the lines are of their objective. */
function bestOf(lines, objectives) {
  const marked = lines.filter(({ best }) => best >= 0);
  if (!marked.length) return "";
  const { goal } = objectives[marked[0].place];
  const winner = marked[bestRow(marked.map(({ y, best }) => y[best]), goal)];
  const values = { value: formatted(winner.y[winner.best]), epoch: winner.epoch[winner.best], name: winner.label };
  return t("best {value} at epoch {epoch}: {name}", values);
}
