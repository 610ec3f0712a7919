// The list: further pages while scrolling, ticks, keys, and what is done with several experiments at once.

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
  const able = (action) => ticked().filter((row) => row.dataset.can.split(" ").includes(action));
  let anchor = null; // the row that was ticked last

  function toggle(row, isRange) {
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
    const number = ticked().length;
    const hint = number > limit ? `. At most ${limit} can be compared: untick ${number - limit}.`
      : number === 1 ? ". Tick another one to compare them." : "";
    find(".selection span").textContent = `${number} ${number === 1 ? "experiment" : "experiments"} ticked${hint}`;
    find(".selection .primary").disabled = number < 2 || number > limit;
    for (const button of findAll("[data-bulk]", form)) {
      const possible = able(button.dataset.bulk).length;
      button.textContent = `${ACTIONS[button.dataset.bulk].verb} ${possible}`;
      button.hidden = !possible;
    }
    const all = find("#all");
    all.checked = number > 0 && number === rows.children.length;
    all.indeterminate = number > 0 && !all.checked;
  }

  form.addEventListener("click", ({ target, shiftKey }) => {
    if (target.id === "all") {
      for (const box of findAll("input", rows)) box.checked = target.checked;
      show();
    } else if (target.matches("#rows input")) {
      toggle(target.closest("tr"), shiftKey);
    } else if (target.dataset.bulk) {
      confirmBulk(kit, target.dataset.bulk, able(target.dataset.bulk).map(idOf), ticked().length);
    }
  });
  find("#bulk")?.addEventListener("close", () => kit.refresh(true));
  show();
  return { show, toggle };
}

const ACTIONS = {
  cancel: { verb: "Cancel", done: "is being cancelled", about: "They write a checkpoint and stop.", style: "danger" },
  retry: { verb: "Retry", done: "is retried", about: "Each continues from its last checkpoint.", style: "primary" },
  delete: { verb: "Delete", done: "is deleted", about: "Their records and histories are deleted for good.", style: "danger" },
};

/** Ask once, then do the same with each experiment, and show what became of each. */
function confirmBulk({ find, element, request, Problem }, action, ids, ticked) {
  const { verb, done, about, style } = ACTIONS[action];
  const dialog = find("#bulk");
  const [no, yes] = dialog.querySelectorAll("button");
  const outputs = find(".check input", dialog);
  const items = ids.map((id) => element("li", {}, element("span", {}, id)));
  find("h2", dialog).textContent = `${verb} ${ids.length} ${ids.length === 1 ? "experiment" : "experiments"}?`;
  find(".lead", dialog).textContent =
    ids.length < ticked ? `${about} It is not possible for the other ${ticked - ids.length} that are ticked.` : about;
  find("ul", dialog).replaceChildren(...items);
  find(".told", dialog).textContent = "";
  find(".check", dialog).hidden = action !== "delete";
  outputs.checked = false;
  Object.assign(yes, { hidden: false, disabled: false, className: style, textContent: `${verb} them` });
  no.textContent = "Go back";
  yes.onclick = async (event) => {
    event.preventDefault();
    yes.disabled = true;
    let failed = 0;
    for (const [index, id] of ids.entries()) {
      if (!dialog.open) return; // closed meanwhile: the rest stays as it is
      const path = `/experiments/${encodeURIComponent(id)}`;
      const [url, method] = action === "delete"
        ? [`${path}?outputs=${outputs.checked}`, "DELETE"] : [`${path}/${action}`, "POST"];
      try {
        await request(url, { method });
        items[index].append(` ${done}.`);
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        failed += 1;
        items[index].append(element("span", { class: "wrong" }, ` ${error.message}`));
      }
      items[index].scrollIntoView({ block: "nearest" });
    }
    find(".told", dialog).textContent = failed
      ? `Done for ${ids.length - failed}. ${failed} could not be changed; see above.` : `Done for all ${ids.length}.`;
    yes.hidden = true;
    no.textContent = "Close";
    no.focus();
  };
  dialog.showModal();
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
