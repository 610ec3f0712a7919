// The list: further pages while scrolling, ticks, keys, and what is done with several experiments at once.

import { t } from "./texts.js";

/** Start the page. Returns how dashboard.js refreshes it, and whether anything on it is live. */
export function start(kit) {
  const { find, findAll, fetchPage, replaceParts, showTimes, Problem } = kit;
  const rows = find("#rows");
  const pages = [{ url: location.href, begin: null }];
  const html = new WeakMap(findAll("tr", rows).map((row) => [row, row.outerHTML]));
  const selection = startSelection(kit, rows);
  startKeys(kit, rows, selection);

  /** Update the rows from a fresh page, which begins after the position `begin` (null: the start). */
  function merge(fresh, begin) {
    const found = new Map(findAll("#rows > tr", fresh).map((row) => [idOf(row), row]));
    const end = find("#next", fresh)?.dataset.begin ?? null;
    for (const row of found.values()) html.set(row, row.outerHTML);
    for (const old of [...rows.children]) {
      const row = found.get(idOf(old));
      if (!row) {
        const isAfter = begin === null || isBefore(begin, old.dataset.key);
        const isWithin = end === null || !isBefore(end, old.dataset.key);
        if (isAfter && isWithin) old.remove(); // deleted, filtered out, or moved to another page
      } else if (html.get(row) === html.get(old)) {
        found.delete(idOf(old));
      } else {
        find("input", row).checked = find("input", old).checked;
        const focused = old.contains(document.activeElement) && document.activeElement.tagName;
        document.adoptNode(row);
        if (row.dataset.key === old.dataset.key) {
          found.delete(idOf(old));
          old.replaceWith(row);
        } else {
          place(row);
          found.delete(idOf(old));
          old.remove();
        }
        if (focused) find(focused.toLowerCase(), row)?.focus();
      }
    }
    for (const row of found.values()) place(document.adoptNode(row));
    if (rows.children.length) find(".empty")?.remove();
    selection.show();
  }

  function place(row) {
    const next = [...rows.children].find((other) => isBefore(row.dataset.key, other.dataset.key));
    rows.insertBefore(row, next ?? null);
  }

  /** Return whether the first of two positions, each a number and a key, comes first in the list. */
  function isBefore(one, other) {
    const [[value, key], [otherValue, otherKey]] = [one, other].map((text) => text.split(" ").map(Number));
    const difference = value - otherValue || key - otherKey;
    return "descending" in rows.dataset ? difference > 0 : difference < 0;
  }

  const more = new IntersectionObserver(async ([seen]) => {
    const next = find("#next");
    if (!seen.isIntersecting || !next || next.dataset.busy) return;
    next.dataset.busy = "yes";
    try {
      const fresh = await fetchPage(next.href);
      pages.push({ url: next.href, begin: next.dataset.begin });
      merge(fresh, next.dataset.begin);
      showTimes();
      find(".more").replaceWith(document.adoptNode(find(".more", fresh)));
      more.disconnect();
      more.observe(find(".more"));
    } catch (error) {
      delete next.dataset.busy; // the link still works by hand
      if (!(error instanceof Problem)) throw error;
    }
  }, { rootMargin: "600px" });
  more.observe(find(".more"));

  return {
    live: () => Boolean(find("[data-live]", rows)),
    async refresh(whole) {
      const last = findAll("[data-live]", rows).at(-1)?.dataset.key;
      for (const { url, begin } of pages) {
        // Later pages of the list by date hold no live experiment, and nothing moves to them.
        const isStill = "fixed" in rows.dataset && (!last || !isBefore(begin ?? last, last));
        if (begin !== null && !whole && isStill) break;
        const fresh = await fetchPage(url);
        if (begin === null) replaceParts(fresh);
        merge(fresh, begin);
      }
    },
  };
}

const idOf = (row) => row.querySelector("input").value;

/** Make rows selectable one by one, as a range (shift), and all together; returns show and toggle. */
function startSelection(kit, rows) {
  const { find, findAll } = kit;
  const form = find("#compare");
  const limit = Number(form.dataset.max);
  const ticked = () => [...rows.children].filter((row) => find("input", row).checked);
  const able = (action) => ticked().filter((row) =>
    TAGGING.includes(action) || row.dataset.can.split(" ").includes(action));
  let anchor = null; // the row that was ticked last
  let others = []; // what matches and is not shown, once all that match are selected: id and status

  const ids = (action) => [
    ...able(action).map(idOf),
    ...others.filter(({ status }) => POSSIBLE[action](status)).map(({ experiment_id: id }) => id),
  ];

  /** Tick all rows, and remember those that match and are not shown. */
  async function selectMatching(button) {
    button.disabled = true;
    try {
      let url = form.dataset.matching;
      const found = [];
      while (url && found.length < MAX_MATCHING) {
        const response = await kit.request(url);
        found.push(...await response.json());
        url = /<([^>]+)>; rel="next"/.exec(response.headers.get("Link") ?? "")?.[1];
      }
      for (const box of findAll("input", rows)) box.checked = true;
      const shown = new Set([...rows.children].map(idOf));
      others = found.slice(0, MAX_MATCHING).filter(({ experiment_id: id }) => !shown.has(id));
      show();
    } catch (error) {
      if (!(error instanceof kit.Problem)) throw error;
      find(".selection span").textContent = error.message;
    } finally {
      button.disabled = false;
    }
  }

  function toggle(row, isRange) {
    others = [];
    const { checked } = find("input", row);
    const all = [...rows.children];
    const from = anchor?.isConnected ? all.indexOf(anchor) : 0; // without one, from the first row
    const to = all.indexOf(row);
    if (isRange) {
      for (const one of all.slice(Math.min(from, to), Math.max(from, to) + 1)) find("input", one).checked = checked;
    }
    anchor = row;
    show();
  }

  function show() {
    const number = ticked().length + others.length;
    const hint = number > limit ? t(". At most {limit} can be compared: untick {extra}.", { limit, extra: number - limit })
      : number === 1 ? t(". Tick another one to compare them.") : "";
    const count = number === 1 ? t("1 experiment ticked") : t("{number} experiments ticked", { number });
    find(".selection span").textContent = `${count}${hint}`;
    find(".selection .primary").disabled = number < 2 || number > limit;
    find("#plot").disabled = number < 2 || number > MAX_PLOTTED;
    for (const button of findAll("[data-bulk]", form)) {
      const possible = ids(button.dataset.bulk).length;
      button.textContent = t("{verb} {number}", { verb: ACTIONS[button.dataset.bulk].verb, number: possible });
      button.hidden = !possible;
    }
    const all = find("#all");
    all.checked = number > 0 && ticked().length === rows.children.length;
    all.indeterminate = number > 0 && !all.checked;
    find("#matching").hidden = !(all.checked && find("#next") && !others.length);
  }

  form.addEventListener("click", ({ target, shiftKey }) => {
    if (target.id === "matching") {
      selectMatching(target);
    } else if (target.id === "all") {
      others = [];
      for (const box of findAll("input", rows)) box.checked = target.checked;
      show();
    } else if (target.matches("#rows input")) {
      toggle(target.closest("tr"), shiftKey);
    } else if (target.dataset.bulk) {
      confirmBulk(kit, target.dataset.bulk, ids(target.dataset.bulk), ticked().length + others.length);
    }
  });
  form.addEventListener("submit", (event) => {
    // All that match are plotted by the filters, not by a list of their ids.
    if (event.submitter?.id !== "plot" || !others.length) return;
    event.preventDefault();
    const query = new URLSearchParams(location.search);
    for (const name of ["columns", "after"]) query.delete(name);
    location.href = `${event.submitter.formAction}?${query}`;
  });
  find("#bulk")?.addEventListener("close", () => {
    others = [];
    kit.refresh(true);
  });
  show();
  return { show, toggle };
}

const MAX_MATCHING = 10_000; // that are selected, for actions that are done one by one
const MAX_PLOTTED = 1000;
const LIVE = ["submitting", "queued", "running"];
const TAGGING = ["tag", "untag"]; // possible whatever the status
const POSSIBLE = {
  cancel: (status) => LIVE.includes(status),
  retry: (status) => ["failed", "cancelled"].includes(status),
  delete: (status) => !LIVE.includes(status),
  tag: () => true,
  untag: () => true,
};
const ACTIONS = {
  cancel: { verb: t("Cancel"), done: t("is being cancelled"), about: t("They write a checkpoint and stop."), style: "danger" },
  retry: { verb: t("Retry"), done: t("is retried"), about: t("Each continues from its last checkpoint."), style: "primary" },
  delete: { verb: t("Delete"), done: t("is deleted"), about: t("Their records and histories are deleted for good."), style: "danger" },
  tag: { verb: t("Tag"), done: t("is tagged"), about: t("They get this tag, beside those that they have."), style: "primary" },
  untag: { verb: t("Untag"), done: t("is untagged"), about: t("They lose this tag, if they have it."), style: "primary" },
};

/** Return path and method of what is done with one experiment. */
function call(action, id, outputs, tag) {
  const path = `/experiments/${encodeURIComponent(id)}`;
  switch (action) {
    case "delete": return [`${path}?outputs=${outputs}`, "DELETE"];
    case "tag": return [`${path}/tags/${encodeURIComponent(tag)}`, "PUT"];
    case "untag": return [`${path}/tags/${encodeURIComponent(tag)}`, "DELETE"];
    default: return [`${path}/${action}`, "POST"];
  }
}

/** Ask once, then do the same with each experiment, and show what became of each. */
function confirmBulk({ find, element, address, request, Problem }, action, ids, ticked) {
  const { verb, done, about, style } = ACTIONS[action];
  const dialog = find("#bulk");
  const [no, yes] = dialog.querySelectorAll("button");
  const outputs = find(".outputs input", dialog);
  const tag = find("#bulk-tag");
  const items = ids.map((id) => element("li", {}, element("span", {}, id)));
  find("h2", dialog).textContent = ids.length === 1
    ? t("{verb} 1 experiment?", { verb }) : t("{verb} {number} experiments?", { verb, number: ids.length });
  find(".lead", dialog).textContent =
    ids.length < ticked
      ? `${about} ${t("It is not possible for the other {number} that are ticked.", { number: ticked - ids.length })}` : about;
  find("ul", dialog).replaceChildren(...items);
  find(".told", dialog).textContent = "";
  find(".outputs", dialog).hidden = action !== "delete";
  find(".tag-field", dialog).hidden = !TAGGING.includes(action);
  find("#bulk-tag-error").hidden = true;
  outputs.checked = false;
  Object.assign(yes, { hidden: false, disabled: false, className: style, textContent: t("{verb} them", { verb }) });
  no.textContent = t("Go back");
  yes.onclick = async (event) => {
    event.preventDefault();
    const isTag = TAGGING.includes(action);
    const wrong = find("#bulk-tag-error");
    wrong.hidden = !isTag || Boolean(tag.value.trim());
    if (!wrong.hidden) {
      wrong.textContent = t("Write a tag, such as baseline.");
      tag.focus();
      return;
    }
    yes.disabled = true;
    let failed = 0;
    for (const [index, id] of ids.entries()) {
      if (!dialog.open) return; // closed meanwhile: the rest stays as it is
      const [path, method] = call(action, id, outputs.checked, tag.value.trim());
      try {
        await request(address(path), { method });
        items[index].append(` ${done}.`);
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        failed += 1;
        items[index].append(element("span", { class: "wrong" }, ` ${error.message}`));
      }
      items[index].scrollIntoView({ block: "nearest" });
    }
    find(".told", dialog).textContent = failed
      ? t("Done for {done}. {failed} could not be changed; see above.", { done: ids.length - failed, failed })
      : t("Done for all {number}.", { number: ids.length });
    yes.hidden = true;
    no.textContent = t("Close");
    no.focus();
  };
  dialog.showModal();
  if (!find(".tag-field", dialog).hidden) tag.focus();
}

/** Keys: j and k move down and up, x ticks (with shift, a range), / finds. */
function startKeys({ find }, rows, selection) {
  let current = null;
  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    const isTyping = target.matches("input:not([type=checkbox]), select, textarea");
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping || find("dialog[open]")) return;
    current = document.activeElement.closest("#rows > tr") ?? (current?.isConnected ? current : null);
    if (key === "/") {
      find("#q").select();
    } else if (key === "j" || key === "k") {
      const next = key === "j" ? current?.nextElementSibling : current?.previousElementSibling;
      current = next ?? current ?? rows.firstElementChild;
      find("a", current ?? document)?.focus();
    } else if (key.toLowerCase() === "x" && current) {
      const box = find("input", current);
      box.checked = !box.checked;
      selection.toggle(current, event.shiftKey);
    } else {
      return;
    }
    event.preventDefault();
  });
}
