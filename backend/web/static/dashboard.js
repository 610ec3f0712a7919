// Keeps the pages fresh. The server makes them: what changed is fetched as a page and put in place,
// so that everything works the same, only by hand, without this script.

const POLL_MS = 2000; // while something shown is going on, or no events come
const POLLS_AT_REST = 15;
const EVENTS_AGAIN_MS = 15_000; // after the server has refused the stream of events

const find = (selector, root = document) => root.querySelector(selector);
const findAll = (selector, root = document) => [...root.querySelectorAll(selector)];
const on = (selector, event, handler) => find(selector)?.addEventListener(event, handler);

/** Make an element with attributes and children; a text becomes a text, never markup. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** An answer that is not what was asked for: a problem of RFC 9457, or no answer at all. */
class Problem extends Error {
  constructor(detail, errors = [], status = 0) {
    super(detail);
    Object.assign(this, { errors, status });
  }
}

/** Ask the server. Throws Problem; says on the page when the server cannot be reached. */
async function request(url, options = {}) {
  const headers = new Headers(options.headers);
  const token = find('meta[name="csrf-token"]')?.content;
  if (token && options.method) headers.set("X-CSRF-Token", token);
  let response;
  try {
    response = await fetch(url, { ...options, headers });
  } catch {
    connection.lost();
    throw new Problem("The server cannot be reached. Nothing is lost: try again.");
  }
  if (response.ok) {
    connection.back();
    return response;
  }
  if (response.status === 401) location.reload(); // the sign-in is over: the server says where to go
  const problem = await response.json().catch(() => ({}));
  if (response.status === 503 && !options.method) connection.lost();
  const detail = problem.detail ?? `The server answered ${response.status}.`;
  throw new Problem(detail, problem.errors, response.status);
}

/** Fetch a page of the dashboard. */
async function fetchPage(url) {
  const response = await request(url);
  if (response.redirected) location.reload();
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

const connection = {
  down: false,
  lost() {
    if (this.down) return;
    this.down = true;
    find("#connection").textContent =
      "No connection to the server. This page shows what was known last; it catches up by itself.";
  },
  back() {
    if (!this.down) return;
    this.down = false;
    find("#connection").textContent = "";
    refresh(true);
  },
};

/* What is shown is brought up to date: after an event, and every POLL_MS where that is needed. */

const RESTING = { refresh: async () => {}, live: () => false };
let page = RESTING;
let events = null;
let asked = null; // "again" while a refresh is due after the one that runs

async function refresh(whole = false) {
  if (asked) {
    asked = whole || asked === "whole" ? "whole" : "again";
    return;
  }
  asked = "running";
  try {
    await page.refresh(whole);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.status === 404) {
      page = RESTING;
      find("#connection").textContent = "This run was deleted. The page shows what was known last.";
    }
  }
  showTimes();
  await new Promise((done) => setTimeout(done, 300)); // many events at once make one refresh
  const again = asked;
  asked = null;
  if (again !== "running") refresh(again === "whole");
}

function listen() {
  if (document.hidden || events) return;
  events = new EventSource("/events");
  let opened = false;
  events.addEventListener("open", () => {
    if (opened || connection.down) refresh(true);
    opened = true;
  });
  events.addEventListener("transition", () => refresh());
  events.addEventListener("error", () => {
    if (events?.readyState !== EventSource.CLOSED) {
      request("/healthz").catch(() => {});
      return;
    }
    events = null;
    setTimeout(listen, EVENTS_AGAIN_MS);
  });
}

let polls = 0;
function poll() {
  const streaming = events?.readyState === EventSource.OPEN;
  const due = ++polls % POLLS_AT_REST === 0; // should an event ever be missed
  if (!document.hidden && (connection.down || !streaming || page.live() || due)) refresh();
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    events?.close(); // a browser has six connections to a server, for all its tabs
    events = null;
  } else {
    listen();
    refresh(true);
  }
});

/** Put the parts marked data-fresh in place of the old ones, where the server says other things. */
const freshHtml = new Map(findAll("[data-fresh]").map((part) => [part.id, part.outerHTML]));
function replaceParts(fresh) {
  for (const part of findAll("[data-fresh]", fresh)) {
    if (freshHtml.get(part.id) === part.outerHTML) continue;
    freshHtml.set(part.id, part.outerHTML);
    const old = document.getElementById(part.id);
    const focused = old.contains(document.activeElement) ? document.activeElement.textContent : null;
    old.replaceWith(document.adoptNode(part));
    if (focused) findAll("a, button", part).find((one) => one.textContent === focused)?.focus();
  }
}

// Not by Intl, which takes a tenth of a second to begin, before anything is painted.
const UNITS = [["day", 86_400], ["hour", 3600], ["minute", 60]];
function showTimes() {
  for (const time of findAll("time")) {
    const seconds = (Date.now() - new Date(time.dateTime)) / 1000;
    const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? [];
    const count = Math.round(seconds / size);
    const text = unit ? `${count} ${unit}${count === 1 ? "" : "s"} ago` : "just now";
    if (time.textContent !== text) time.textContent = text;
  }
}

document.addEventListener("pointerover", ({ target }) => {
  if (target.matches("time")) target.title = new Date(target.dateTime).toLocaleString();
});

/* The list */

function startList() {
  const rows = find("#rows");
  const pages = [{ url: location.href, begin: "~" }]; // "~" comes after every key
  const key = (row) => row.dataset.key; // a text: what the list is sorted by, the newest last
  const html = new WeakMap(findAll("tr", rows).map((row) => [row, row.outerHTML]));

  /** Bring the rows in line with a fresh page, which shows all whose keys are below `begin`. */
  function merge(fresh, begin) {
    const found = new Map(findAll("#rows > tr", fresh).map((row) => [key(row), row]));
    const end = find("#next", fresh)?.dataset.begin ?? "";
    for (const row of found.values()) html.set(row, row.outerHTML);
    for (const old of [...rows.children]) {
      const row = found.get(key(old));
      found.delete(key(old));
      if (!row && key(old) < begin && key(old) >= end) old.remove(); // deleted, or another status
      if (!row || html.get(row) === html.get(old)) continue;
      find("input", row).checked = find("input", old).checked;
      const focused = old.contains(document.activeElement) && document.activeElement.tagName;
      old.replaceWith(document.adoptNode(row));
      if (focused) find(focused, row).focus();
    }
    for (const row of found.values()) {
      const older = [...rows.children].find((old) => key(old) < key(row)) ?? null;
      rows.insertBefore(document.adoptNode(row), older);
    }
    if (rows.children.length) find(".empty")?.remove();
    count();
  }

  function count() {
    const ticked = findAll("input:checked", rows).length;
    find(".selection span").textContent = `${ticked} ${ticked === 1 ? "run" : "runs"} ticked`;
    find(".selection button").disabled = ticked < 2;
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
      delete next.dataset.busy; // the link is still there
      if (!(error instanceof Problem)) throw error;
    }
  }, { rootMargin: "600px" });
  more.observe(find(".more"));

  rows.addEventListener("change", count);
  count();

  page = {
    live: () => Boolean(find("[data-live]", rows)),
    async refresh(whole) {
      const oldest = whole ? "" : (findAll("[data-live]", rows).map(key).sort()[0] ?? "~");
      for (const [index, { url, begin }] of pages.entries()) {
        if (index && begin <= oldest) break; // no older page shows a run that goes on
        merge(await fetchPage(url), begin);
      }
    },
  };
}

/* A new run */

function showWrong(id, text) {
  const place = document.getElementById(id);
  place.textContent = text;
  place.hidden = !text;
}

function startNew() {
  const form = find("#new");
  const fields = findAll("input, select", form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    for (const field of fields) {
      field.removeAttribute("aria-invalid");
      showWrong(`${field.id}-error`, "");
    }
    showWrong("form-error", "");
    const button = find("button", form);
    button.disabled = true;
    try {
      const response = await request(form.action, { method: "POST", body: new FormData(form) });
      const { experiment_id: id } = await response.json();
      location.href = `/ui/experiments/${encodeURIComponent(id)}`;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      const wrong = error.errors.filter((one) => fields.some(({ id }) => id === one.field));
      for (const { field, detail } of wrong) {
        showWrong(`${field}-error`, `This ${detail}`);
        document.getElementById(field).setAttribute("aria-invalid", "true");
      }
      if (wrong.length) find("[aria-invalid]", form).focus();
      else showWrong("form-error", error.message);
    } finally {
      button.disabled = false;
    }
  });

  on("#upload", "submit", async (event) => {
    event.preventDefault();
    const [file] = find("#file").files;
    const url = `${event.target.dataset.url}${encodeURIComponent(file.name)}`;
    showWrong("file-error", "");
    find("#uploaded").textContent = "Uploading …";
    try {
      await request(url, { method: "PUT", body: file });
      const select = find("#dataset");
      if (!findAll("option", select).some((option) => option.value === file.name)) {
        select.append(element("option", {}, file.name));
      }
      select.value = file.name;
      find("#uploaded").textContent = `${file.name} is there, and chosen above.`;
    } catch (error) {
      find("#uploaded").textContent = "";
      showWrong("file-error", error.message);
    }
  });
}

/* Dialogs, and the buttons that open them; the run page puts fresh ones in their place */

document.addEventListener("click", async ({ target }) => {
  const { dialog, copy } = target.dataset;
  if (dialog) document.getElementById(dialog).showModal();
  if (copy) {
    const source = document.getElementById(copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      target.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source); // no right to the clipboard without HTTPS
    }
  }
});

for (const form of findAll("dialog form")) {
  form.addEventListener("submit", async (event) => {
    if (event.submitter?.value !== "yes") return;
    event.preventDefault();
    const wrong = find(".wrong", form);
    const { method, url } = form.dataset;
    const shown = page;
    wrong.hidden = true;
    event.submitter.disabled = true;
    try {
      if (method === "DELETE") page = RESTING; // or it would ask for what is gone
      const query = new URLSearchParams(new FormData(form)).toString();
      await request(query ? `${url}?${query}` : url, { method });
      form.closest("dialog").close();
      if (method === "DELETE") location.href = "/ui";
      else refresh(true);
    } catch (error) {
      page = shown;
      wrong.textContent = error.message;
      wrong.hidden = false;
    } finally {
      event.submitter.disabled = false;
    }
  });
}

/* Begin */

const { page: name, module } = document.body.dataset;
if (name === "list") startList();
if (name === "new") startNew();
if (module) {
  const kit = { find, findAll, on, element, request, fetchPage, replaceParts, Problem };
  page = (await import(module)).start(kit);
  refresh(true);
}
showTimes();
setInterval(showTimes, 30_000);
if (name === "list" || module) {
  listen();
  setInterval(poll, POLL_MS);
}
