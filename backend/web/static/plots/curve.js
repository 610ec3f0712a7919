// The curve of one experiment, as far as the page has read it.

import { kit } from "../kit.js";

export const MAX_CURVE_POINTS = 2000;
const MAX_REQUESTS = 50; // for a file that is too long for one answer

/** Return an object without a prototype: a trainer may name a metric "constructor". */
const byName = (metrics) => Object.assign(Object.create(null), metrics);

export class Curve {
  constructor(url, maxPoints = MAX_CURVE_POINTS) {
    Object.assign(this, { url, maxPoints, attempt: 0, epoch: [], elapsed: [], metrics: byName({}), writtenAt: 0 });
  }

  /** Fetch new epochs; all of them if `whole`, or if the page holds too many points. */
  async update(whole) {
    if (whole || !this.epoch.length || this.epoch.length > 2 * this.maxPoints) return this.#read();
    const curve = await this.#fetch(`since_epoch=${this.epoch.at(-1)}`);
    if (curve.attempt !== this.attempt || curve.elapsed.length !== curve.epoch.length * Math.sign(this.elapsed.length)) {
      return this.#read(); // a retry begins at an earlier epoch
    }
    const { epoch, metrics } = curve;
    for (const name of new Set([...Object.keys(this.metrics), ...Object.keys(metrics)])) {
      const before = this.metrics[name] ?? this.epoch.map(() => null);
      this.metrics[name] = before.concat(metrics[name] ?? epoch.map(() => null));
    }
    this.epoch = this.epoch.concat(epoch);
    this.elapsed = this.elapsed.concat(curve.elapsed);
    this.writtenAt = curve.writtenAt;
  }

  /** Return x of each epoch by "epoch", "relative" or "time", in seconds; none if it is not known. */
  x(axis) {
    if (axis === "epoch") return this.epoch;
    if (axis === "relative") return this.elapsed;
    const start = this.writtenAt - (this.elapsed.at(-1) ?? 0); // the last epoch was written last
    return this.elapsed.map((seconds) => start + seconds);
  }

  async #read() {
    for (let requests = 0; requests < MAX_REQUESTS; requests += 1) {
      const curve = await this.#fetch(`max_points=${this.maxPoints}`);
      Object.assign(this, curve);
      if (curve.complete) return;
    }
  }

  async #fetch(query) {
    const answer = await (await kit.request(`${this.url}?${query}`)).json();
    const { attempt, epoch, metrics, elapsed = [], written_at: writtenAt = 0, complete = true } = answer;
    return { attempt, epoch, elapsed, metrics: byName(metrics), writtenAt: new Date(writtenAt) / 1000, complete };
  }
}
