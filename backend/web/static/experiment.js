// The page of one experiment: its curves, its log, its files.

import { formatted } from "./plots/axes.js";
import { Charts } from "./plots/charts.js";
import { Curve } from "./plots/curve.js";
import { kit, setKit } from "./kit.js";
import { startLog } from "./files/log.js";
import { showPreviews } from "./files/previews.js";
import { startResources } from "./plots/resources.js";
import { bestRow, inOrder } from "./plots/series.js";
import { t } from "./texts.js";
import { startViewer } from "./files/viewer.js";

/** Start the page. Returns how dashboard.js refreshes it, and whether anything on it is live. */
export function start(functions) {
  setKit(functions);
  const { find } = kit;
  const state = () => find("#diagnosis").dataset;
  const curve = new Curve(find("#chart").dataset.url);
  const charts = new Charts(find("#chart"),
    () => charts.show(panels(curve, charts.axis.value, state()), curve.elapsed.length));
  const showResources = startResources();
  const log = startLog(state().attempt);
  const shownFiles = new Map();
  startViewer();

  return {
    live: () => state().live === "true",
    async refresh(whole) {
      const { attempt } = state();
      kit.replaceParts(await kit.fetchPage(location.href));
      if (state().attempt !== attempt) {
        if (!find("#attempt")) location.reload(); // the second attempt adds the choice of attempts
        log.show(state().attempt);
      } else {
        log.refresh();
      }
      await curve.update(whole);
      charts.show(panels(curve, charts.axis.value, state()), curve.elapsed.length);
      await showResources();
      await showPreviews(shownFiles, state().live === "true");
    },
  };
}

/** Return the panels of a curve: one for each metric, with that of the validation data beside it. */
function panels(curve, axis, { objective, goal }) {
  const { metrics, epoch } = curve;
  const x = curve.x(curve.elapsed.length ? axis : "epoch");
  const best = metrics[objective] ? bestRow(metrics[objective], goal) : -1;
  const bases = new Set(Object.keys(metrics).map((name) => name.replace(/^val_/, "")));
  return inOrder(bases, [objective?.replace(/^val_/, "")]).map((base) => {
    const names = [base, `val_${base}`].filter((name) => metrics[name]);
    const lines = names.map((label, place) => (
      { label, place, x, epoch, y: metrics[label], best: label === objective ? best : -1 }));
    const isObjective = names.includes(objective) && best >= 0;
    const note = isObjective
      ? t("best {metric} {value} at epoch {epoch}",
        { metric: objective, value: formatted(metrics[objective][best]), epoch: epoch[best] }) : "";
    return { name: base, lines, note, mark: best >= 0 ? x[best] : null };
  });
}
