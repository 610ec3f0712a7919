// What is drawn of a curve. Pure.

export const last = (values) => values.findLast((value) => value != null);
export const drawable = (value, log) => (typeof value === "number" && (!log || value > 0) ? value : null);

/** Return the exponential moving average of values, without the bias of its start; gaps stay. */
export function smoothed(values, weight) {
  let sum = 0;
  let total = 0;
  return values.map((value) => {
    if (value == null) return null;
    sum = sum * weight + value * (1 - weight);
    total = total * weight + (1 - weight);
    return sum / total;
  });
}

/** Return the first row with the best value, or -1; `goal` is "minimize" or "maximize". */
export function bestRow(values, goal) {
  let best = -1;
  values.forEach((value, row) => {
    if (value == null) return;
    const isBetter = best < 0 || (goal === "maximize" ? value > values[best] : value < values[best]);
    if (isBetter) best = row;
  });
  return best;
}

/** Return the metrics in the order of their panels: the objective, losses, the others, durations. */
export function inOrder(names, objectives) {
  const place = (name) => (objectives.includes(name) ? 0 : name.includes("loss") ? 1 : name === "seconds" ? 3 : 2);
  return [...names].sort((one, other) => place(one) - place(other));
}
