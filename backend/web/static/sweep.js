// The pages of sweeps: the list and one sweep keep themselves up to date; the form sends ranges and choices.

/** Start the page. Returns how dashboard.js refreshes it, and whether anything on it is live. */
export function start(kit) {
  const { find, fetchPage, replaceParts, showTimes } = kit;
  const form = find("#new-sweep");
  if (form) {
    startForm(kit, form);
    return { refresh: async () => {}, live: () => false };
  }
  startActions(kit);
  return {
    async refresh() {
      replaceParts(await fetchPage(location.href));
      showTimes();
    },
    live: () => Boolean(find('[data-live="true"], tr[data-live]')),
  };
}

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
    find(".vary", dimension).addEventListener("change", ({ target }) => {
      find(".single", dimension).hidden = target.checked;
      find(".range", dimension).hidden = !target.checked;
    });
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
      const left = error.errors.filter(({ field, detail }) => !show(`${field}-error`, `This ${detail}`));
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
