// Keeps the pages up to date. The server renders them: this script fetches the page again and replaces
// what has changed. Without it, everything still works after a reload.

import { t } from "./texts.js";

const POLL_MS = 2000; // while something on the page is live, or the stream of events is not open
const IDLE_POLLS = 15; // otherwise, refresh at every 15th poll, should an event have been missed
const EVENTS_RETRY_MS = 15_000; // after the server refused the stream of events

const find = (selector, root = document) => root.querySelector(selector);
const findAll = (selector, root = document) => [...root.querySelectorAll(selector)];
const on = (selector, event, handler) => find(selector)?.addEventListener(event, handler);

/** Return the address of a path of this server, which a proxy may show under a path of its own. */
const address = (path) => `${document.body.dataset.root}${path}`;

/** Return an element with attributes and children; text stays text and never becomes markup. */
function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** An error response (RFC 9457), or no response at all (status 0). */
class Problem extends Error {
  constructor(detail, errors = [], status = 0) {
    super(detail);
    Object.assign(this, { errors, status });
  }
}

/** Send a request. Throws Problem; shows on the page if the server cannot be reached. */
async function request(url, options = {}) {
  const headers = new Headers(options.headers);
  const token = find('meta[name="csrf-token"]')?.content;
  if (token && options.method) headers.set("X-CSRF-Token", token);
  let response;
  try {
    response = await fetch(url, { ...options, headers });
  } catch {
    connection.lost();
    throw new Problem(t("The server cannot be reached. Nothing is lost: try again."));
  }
  if (response.ok) {
    connection.back();
    return response;
  }
  if (response.status === 401) location.reload(); // the session has expired: sign in again
  const problem = await response.json().catch(() => ({}));
  if (response.status === 503 && !options.method) connection.lost();
  const detail = problem.detail ?? t("The server answered {status}.", { status: response.status });
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
      t("No connection to the server. This page shows the last known state, and updates by itself.");
  },
  back() {
    if (!this.down) return;
    this.down = false;
    find("#connection").textContent = "";
    refresh(true);
  },
};

/* Refreshing: after an event, and every POLL_MS where that is needed */

const STATIC_PAGE = { refresh: async () => {}, live: () => false };
let page = STATIC_PAGE;
let events = null;
let pending = null; // null, or "none", "refresh" or "whole": what is due after the current refresh

/** Refresh the page; if `whole`, also what cannot have changed unless events were missed. */
async function refresh(whole = false) {
  if (pending) {
    pending = whole || pending === "whole" ? "whole" : "refresh";
    return;
  }
  pending = "none";
  try {
    await page.refresh(whole);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.status === 404) {
      page = STATIC_PAGE;
      find("#connection").textContent = t("This experiment was deleted. The page shows its last known state.");
    }
  }
  showTimes();
  await new Promise((done) => setTimeout(done, 300)); // one refresh for many events at once
  const due = pending;
  pending = null;
  if (due !== "none") refresh(due === "whole");
}

function listen() {
  if (document.hidden || events) return;
  events = new EventSource(address("/events"));
  let opened = false;
  events.addEventListener("open", () => {
    if (opened || connection.down) refresh(true);
    opened = true;
  });
  for (const name of ["transition", "sweep"]) {
    events.addEventListener(name, () => {
      settling = 2;
      refresh();
    });
  }
  events.addEventListener("error", () => {
    if (events?.readyState !== EventSource.CLOSED) {
      request(address("/healthz")).catch(() => {});
      return;
    }
    events = null;
    setTimeout(listen, EVENTS_RETRY_MS);
  });
}

let polls = 0;
let settling = 0; // polls left after an event: the last values of what has ended are stored a moment later
function poll() {
  const streaming = events?.readyState === EventSource.OPEN;
  const due = ++polls % IDLE_POLLS === 0;
  if (!document.hidden && (connection.down || !streaming || page.live() || settling || due)) refresh();
  settling = Math.max(settling - 1, 0);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    events?.close(); // a browser opens at most six connections to a server, for all its tabs together
    events = null;
  } else {
    listen();
    refresh(true);
  }
});

/** Replace the parts marked data-fresh that differ from what the server sent before. */
const freshHtml = new Map(findAll("[data-fresh]").map((part) => [part.id, part.outerHTML]));
function replaceParts(fresh) {
  for (const part of findAll("[data-fresh]", fresh)) replacePart(part);
}

/** Replace one part if it differs; return whether it does. */
function replacePart(part) {
  const html = part.outerHTML;
  if (freshHtml.get(part.id) === html) return false;
  freshHtml.set(part.id, html);
  const old = document.getElementById(part.id);
  const focused = old.contains(document.activeElement) ? document.activeElement.textContent : null;
  old.replaceWith(document.adoptNode(part));
  if (focused) findAll("a, button", part).find((control) => control.textContent === focused)?.focus();
  return true;
}

// Not with Intl, whose first use takes a tenth of a second, before anything is painted.
const UNITS = [
  [86_400, (n) => (n === 1 ? t("1 day ago") : t("{n} days ago", { n }))],
  [3600, (n) => (n === 1 ? t("1 hour ago") : t("{n} hours ago", { n }))],
  [60, (n) => (n === 1 ? t("1 minute ago") : t("{n} minutes ago", { n }))],
];
function showTimes() {
  for (const time of findAll("time")) {
    const seconds = (Date.now() - new Date(time.dateTime)) / 1000;
    const [size, textOf] = UNITS.find(([size]) => seconds >= size) ?? [];
    const ago = size ? textOf(Math.round(seconds / size)) : t("just now");
    const isAbsolute = "absolute" in time.dataset;
    const text = isAbsolute ? localTime(new Date(time.dateTime)) : ago;
    if (time.textContent !== text) time.textContent = text;
    if (isAbsolute) time.title = ago;
  }
}

/** Return a time in the reader's time zone, and the zone as its distance from UTC. */
function localTime(time) {
  const two = (number) => String(Math.floor(number)).padStart(2, "0");
  const offset = -time.getTimezoneOffset(); // minutes
  const [hours, minutes] = [Math.abs(offset) / 60, Math.abs(offset) % 60];
  const zone = `${offset < 0 ? "−" : "+"}${Math.floor(hours)}${minutes ? `:${two(minutes)}` : ""}`;
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} `
    + `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())} UTC${offset ? zone : ""}`;
}

document.addEventListener("pointerover", ({ target }) => {
  if (target.matches("time:not([data-absolute])")) target.title = new Date(target.dateTime).toLocaleString();
});

/* The form for a new experiment */

function showWrong(id, text) {
  const place = document.getElementById(id);
  place.textContent = text;
  place.hidden = !text;
}

function startNew() {
  const form = find("#new");
  const fields = findAll("input:not([type=hidden]), select", form);
  const id = find("#experiment_id");
  const suggestUrl = form.getAttribute("data-suggest"); // form.dataset is the field of that name
  let suggested = id.value;
  let suggestion = Promise.resolve();

  /** Replace a suggested name that would say another value than the form has: lr-0.1 -> lr-0.05. */
  async function suggest() {
    try {
      const query = new URLSearchParams(new FormData(form));
      const response = await request(`${suggestUrl}&${query}`);
      const { experiment_id: name } = await response.json();
      if (id.value === suggested) id.value = suggested = name;
    } catch (error) {
      if (!(error instanceof Problem)) throw error; // the name stays, and can be changed by hand
    }
  }
  form.addEventListener("change", ({ target }) => {
    if (suggestUrl && target !== id && id.value === suggested) suggestion = suggest();
  });
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
      await suggestion;
      const response = await request(form.action, { method: "POST", body: new FormData(form) });
      const { experiment_id: id } = await response.json();
      location.href = address(`/ui/experiments/${encodeURIComponent(id)}`);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      const wrong = error.errors.filter(({ field }) => fields.some(({ id }) => id === field));
      for (const { field, detail } of wrong) {
        showWrong(`${field}-error`, t("This {detail}", { detail }));
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
    find("#uploaded").textContent = t("Uploading …");
    try {
      await request(url, { method: "PUT", body: file });
      const select = find("#dataset");
      if (!findAll("option", select).some((option) => option.value === file.name)) {
        select.append(element("option", {}, file.name));
      }
      select.value = file.name;
      find("#uploaded").textContent = t("{name} is uploaded, and chosen above.", { name: file.name });
    } catch (error) {
      find("#uploaded").textContent = "";
      showWrong("file-error", error.message);
    }
  });
}

/* Dialogs and their buttons. Clicks are handled on the document, because refreshing replaces buttons. */

document.addEventListener("click", async ({ target }) => {
  const { dialog, copy } = target.dataset;
  if (dialog) {
    const opened = document.getElementById(dialog);
    for (const field of findAll("[data-current]", opened)) {
      field.value = document.getElementById(field.dataset.current).value;
    }
    opened.showModal();
  }
  const patch = target.closest("[data-patch]")?.dataset;
  if (patch) {
    const body = new FormData();
    body.set(patch.name, patch.value);
    try {
      await request(patch.patch, { method: "PATCH", body });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      find("#connection").textContent = error.message;
    }
    refresh(true);
  }
  if (copy) {
    const source = document.getElementById(copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      target.textContent = t("Copied");
    } catch {
      getSelection().selectAllChildren(source); // without HTTPS a page may not use the clipboard
    }
  }
});

for (const form of findAll("dialog form[data-method]")) {
  form.addEventListener("submit", async (event) => {
    if (event.submitter?.value !== "yes") return;
    event.preventDefault();
    const wrong = find(".wrong", form);
    const { method, url } = form.dataset;
    const shown = page;
    wrong.hidden = true;
    event.submitter.disabled = true;
    try {
      if (method === "DELETE") page = STATIC_PAGE; // refreshing would ask for the deleted experiment
      const fields = new FormData(form);
      const query = method === "PATCH" ? "" : new URLSearchParams(fields).toString();
      const body = method === "PATCH" ? fields : undefined;
      await request(query ? `${url}?${query}` : url, { method, body });
      form.closest("dialog").close();
      if (method === "DELETE") location.href = form.dataset.then ?? address("/ui");
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

/* Start */

const { page: name, module } = document.body.dataset;
if (name === "new") startNew();
if (module) {
  const kit = {
    find, findAll, on, element, address, request, fetchPage, replaceParts, replacePart, showTimes, refresh, Problem,
  };
  page = (await import(module)).start(kit);
  if (name !== "list" && name !== "inputs") refresh(true); // those are complete as the server sends them
}
document.body.dataset.started = ""; // for tests: a click before this does what it does without scripts
showTimes();
setInterval(showTimes, 30_000);
if (module) {
  listen();
  setInterval(poll, POLL_MS);
}
