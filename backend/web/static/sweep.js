// The pages of sweeps: the list and one sweep keep themselves up to date; the form sends ranges and choices.

import { kit, setKit } from "./kit.js";
import { keepInAddress } from "./settings.js";
import { t } from "./texts.js";
import { TrialCurves } from "./plots/trial_curves.js";
import { pointAtTrials } from "./plots/trial_pictures.js";

/** Start the page. Returns how dashboard.js refreshes it, and whether anything on it is live. */
export function start(functions) {
  setKit(functions);
  const { find } = kit;
  const form = find("#new-sweep");
  if (form) {
    startForm(kit, form);
    return { refresh: async () => {}, live: () => false };
  }
  startActions(kit);
  const box = find("#curves");
  const curves = box && new TrialCurves(box);
  if (box) {
    keepInAddress("#x", "x", () => kit.refresh());
    pointAtTrials(curves);
  }
  return {
    async refresh(whole) {
      await replaceOneByOne(kit);
      await curves?.update(whole);
    },
    live: () => Boolean(find('[data-live="true"], tr[data-live]')),
  };
}

/** Replace the parts of the page, each in a frame of its own: 500 trials take one frame a picture. */
async function replaceOneByOne({ findAll, fetchPage, replacePart, showTimes }) {
  const fresh = await fetchPage(location.href);
  for (const part of findAll("[data-fresh]", fresh)) {
    if (replacePart(part)) await nextFrame();
  }
  for (const rows of findAll("[data-rows]", fresh)) await replaceRows(rows);
  showTimes();
}

const nextFrame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));

/** Make the rows of a table those that the server sent; those that are the same stay. */
async function replaceRows(fresh) {
  const table = document.getElementById(fresh.id);
  const before = new Map([...table.rows].map((row) => [row.dataset.key, row]));
  let [place, changed] = [table.firstElementChild, 0];
  for (const row of [...fresh.rows]) {
    const old = before.get(row.dataset.key);
    before.delete(row.dataset.key);
    const same = old && sourceOf(old) === sourceOf(row);
    if (same && old === place) {
      place = place.nextElementSibling;
      continue;
    }
    if (old && old === place) place = place.nextElementSibling;
    if (old && !same) old.remove();
    table.insertBefore(same ? old : document.adoptNode(row), place);
    if (++changed % ROWS_A_FRAME === 0) await nextFrame();
  }
  for (const row of before.values()) row.remove();
}

const ROWS_A_FRAME = 25;

/** Return the markup of a row as the server sent it. */
function sourceOf(row) {
  if (!sources.has(row)) sources.set(row, row.innerHTML);
  return sources.get(row);
}

const sources = new WeakMap();

function startActions({ find, on, request, refresh, Problem }) {
  const show = (place, text) => {
    place.textContent = text;
    place.hidden = !text;
  };
  document.addEventListener("click", async ({ target }) => {
    const url = target.dataset.post;
    if (!url) return;
    target.disabled = true;
    try {
      await request(url, { method: "POST" });
      show(find("#action-error"), "");
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      show(find("#action-error"), error.message);
    }
    target.disabled = false;
    refresh(true);
  });
  on("#extend", "submit", async (event) => {
    if (event.submitter?.value !== "yes") return;
    event.preventDefault();
    const form = event.target;
    try {
      await request(form.dataset.url, { method: "PATCH", body: new FormData(form) });
      show(find(".wrong", form), "");
      form.closest("dialog").close();
      refresh(true);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      show(find(".wrong", form), error.message);
    }
  });
}

function startForm({ find, findAll, request, Problem }, form) {
  const show = (id, text) => {
    const place = document.getElementById(id);
    if (!place) return false;
    place.textContent = text;
    place.hidden = !text;
    return true;
  };
  const dimensions = findAll(".dimension", form);
  for (const dimension of dimensions) {
    const vary = find(".vary", dimension);
    const showChosen = () => {
      find(".single", dimension).hidden = vary.checked;
      find(".range", dimension).hidden = !vary.checked;
    };
    vary.addEventListener("change", showChosen);
    showChosen(); // it may have been ticked before this script ran, or by the browser on the way back
  }
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    for (const wrong of findAll(".wrong", form)) show(wrong.id, "");
    const button = find("button.primary", form);
    button.disabled = true;
    try {
      const response = await request(form.action, { method: "POST", body: fieldsOf(form) });
      const { sweep_id: id } = await response.json();
      location.href = kit.address(`/ui/sweeps/${encodeURIComponent(id)}`);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      const left = error.errors.filter(({ field, detail }) => !show(`${field}-error`, t("This {detail}", { detail })));
      if (left.length || !error.errors.length) show("form-error", error.message);
      find(".wrong:not([hidden])", form)?.scrollIntoView({ block: "center" });
    } finally {
      button.disabled = false;
    }
  });

  /** Return the fields to send: what is empty is left out, and what varies is a range or a list. */
  function fieldsOf() {
    const fields = new FormData(form);
    for (const [name, value] of [...fields]) if (value === "") fields.delete(name);
    for (const dimension of dimensions) {
      if (!find(".vary", dimension).checked) continue;
      const { name } = dimension.dataset;
      fields.delete(name);
      for (const value of valuesOf(dimension)) fields.append(name, value);
    }
    return fields;
  }

  function valuesOf(dimension) {
    const low = find(".low", dimension);
    if (low) return [`${low.value.trim()}..${find(".high", dimension).value.trim()}${find(".scale", dimension).value}`];
    const list = find(".list", dimension);
    if (list) return list.value.split(",").map((text) => text.trim());
    return findAll(".choice:checked", dimension).map(({ value }) => value);
  }
}
