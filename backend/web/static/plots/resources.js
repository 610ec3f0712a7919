// What the current attempt uses of its machine: processors, memory and GPUs.

import { Charts } from "./charts.js";
import { kit } from "../kit.js";
import { t } from "../texts.js";

const MEGABYTE = 1e6;
const KINDS = [
  { kind: "cpu", name: t("CPU cores"), unit: 1 },
  { kind: "memory", name: t("memory, MB"), unit: MEGABYTE },
  { kind: "gpu", name: t("GPUs"), unit: 1 },
  { kind: "gpu_memory", name: t("GPU memory, MB"), unit: MEGABYTE },
];

/** Return a function that fetches the samples and draws a panel of each kind; the card is hidden without any. */
export function startResources() {
  const card = kit.find("#resources");
  const charts = new Charts(kit.find("#resource-chart"));
  return async () => {
    const { elapsed, resources } = await (await kit.request(card.dataset.url)).json();
    card.hidden = !elapsed.length;
    charts.show(panels(elapsed, resources), elapsed.length);
  };
}

function panels(elapsed, resources) {
  return KINDS.filter(({ kind }) => resources[kind]).map(({ kind, name, unit }) => {
    const y = resources[kind].map((value) => (value === null ? null : value / unit));
    return { name, lines: [{ label: name, place: 0, x: elapsed, y }], note: "", mark: null };
  });
}
