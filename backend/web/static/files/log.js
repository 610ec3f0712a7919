// The log of an attempt, or of one of its workers, as it grows, scrolled to its end unless the reader has scrolled up.

import { lineNodes } from "./ansi.js";
import { kit } from "../kit.js";
import { keepInAddress } from "../settings.js";
import { t } from "../texts.js";

const MAX_LINES = 5000; // shown in the page

/** Show the log of an attempt. Returns how to show another attempt, and how to read the log again. */
export function startLog(attempt) {
  const { find, on } = kit;
  const box = find("#log");
  const search = new Search(box);
  const wrap = keepInAddress("#wrap", "wrap", () => box.classList.toggle("unwrapped", !wrap.checked));
  box.classList.toggle("unwrapped", !wrap.checked);
  let current = attempt;
  let worker = "0";
  let log = follow(box, current, worker, search);
  const show = (next) => {
    log.close();
    current = next;
    log = follow(box, current, worker, search);
  };
  on("#attempt", "change", ({ target }) => show(target.value));
  on("#worker", "change", ({ target }) => {
    worker = target.value;
    show(current);
  });
  document.addEventListener("visibilitychange", () => {
    log.close(); // a browser opens at most six connections to a server, for all its tabs together
    if (!document.hidden) show(current);
  });
  return { show, refresh: () => log.refresh() };
}

function follow(box, attempt, worker, search) {
  const { find, element } = kit;
  const isOther = worker !== "0"; // rank 0 prints the log of the experiment
  const url = `${box.dataset.url}?attempt=${attempt}${isOther ? `&worker=${worker}` : ""}`;
  const tail = `${url}&tail=${MAX_LINES}&ansi=true`;
  const button = find("#follow");
  const note = find("#log-state");
  let waiting = [];
  let stream = null;
  let cut = false;
  let unfinished = null; // the text so far of a line that has not ended yet, such as a progress bar
  const unfinishedNode = element("div", { class: "line" });
  const download = find("#log-download");
  download.href = url;
  const name = `-${attempt}${isOther ? `-worker-${worker}` : ""}.log`;
  download.download = download.download.replace(/(-\d+(-worker-\d+)?)?\.log$/, name);
  box.replaceChildren();
  note.textContent = "";
  search.update();

  const atEnd = () => box.scrollTop + box.clientHeight >= box.scrollHeight - 24;
  const toEnd = () => { box.scrollTop = box.scrollHeight; };
  box.onscroll = () => { if (atEnd()) button.hidden = true; };
  button.onclick = () => { toEnd(); box.focus(); };

  let isDue = false;
  function draw() {
    if (!isDue) requestAnimationFrame(write);
    isDue = true;
  }

  function add(line) {
    unfinished = null;
    draw();
    waiting.push(line);
    if (waiting.length > MAX_LINES) { // a browser does not draw a page in the background
      waiting = waiting.slice(-MAX_LINES);
      cut = true;
    }
  }

  const lineOf = (text) => element("div", { class: "line" }, ...lineNodes(text));

  function write() {
    const isFollowed = atEnd();
    isDue = false;
    unfinishedNode.remove();
    const lines = waiting.map(lineOf);
    waiting = [];
    box.append(...lines);
    if (unfinished !== null) {
      unfinishedNode.replaceChildren(...lineNodes(unfinished));
      box.append(unfinishedNode);
    }
    while (box.childNodes.length > MAX_LINES) {
      box.firstChild.remove();
      cut = true;
    }
    if (cut) note.textContent = t("the last {number} lines", { number: MAX_LINES.toLocaleString("en") });
    search.update(lines);
    if (isFollowed) toEnd();
    button.hidden = isFollowed;
  }

  /** Read the log as it is now: the attempt has ended, or the server refused the stream. */
  async function read() {
    const text = await (await kit.request(tail)).text();
    const lines = text.replace(/\n$/, "").split("\n").slice(-MAX_LINES);
    if (!text || box.childNodes.length === lines.length) return;
    box.replaceChildren();
    lines.forEach(add);
  }

  stream = new EventSource(`${tail}&follow=true`);
  stream.addEventListener("message", ({ data }) => add(data));
  stream.addEventListener("progress", ({ data }) => { unfinished = data; draw(); });
  stream.addEventListener("end", () => stream.close());
  stream.addEventListener("error", () => {
    if (stream?.readyState === EventSource.CLOSED) stream = null; // refused: `refresh` reads it instead
  });
  return {
    refresh: () => { if (!stream) read().catch(() => {}); },
    close: () => stream?.close(),
  };
}

/** Marks the lines that hold a text; Enter goes to the next one, with Shift to the one before. */
class Search {
  #text = "";
  #current = null;

  constructor(box) {
    const { find } = kit;
    Object.assign(this, { box, input: find("#find"), found: find("#found") });
    this.input.addEventListener("input", () => {
      this.#text = this.input.value.toLowerCase();
      this.#current = null;
      this.#mark(this.box.children);
      this.#go(this.#matches.at(-1));
    });
    this.input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.#step(event.shiftKey ? -1 : 1);
      else if (event.key !== "Escape" || !this.input.value) return;
      else {
        this.input.value = "";
        this.input.dispatchEvent(new Event("input"));
      }
      event.preventDefault();
    });
  }

  /** Mark new lines. */
  update(lines = []) {
    if (!this.#text) return;
    this.#mark(lines);
    this.#tell();
  }

  get #matches() {
    return this.#text ? [...this.box.querySelectorAll(".match")] : [];
  }

  #mark(lines) {
    for (const line of lines) {
      const holds = Boolean(this.#text) && line.textContent.toLowerCase().includes(this.#text);
      if (holds !== line.classList.contains("match")) line.classList.toggle("match", holds);
    }
  }

  #step(by) {
    const matches = this.#matches;
    const at = matches.indexOf(this.#current);
    if (matches.length) this.#go(matches[(at + by + matches.length) % matches.length]);
  }

  #go(line) {
    this.box.querySelector(".current")?.classList.remove("current");
    this.#current = line ?? null;
    if (line) {
      line.classList.add("current");
      this.box.scrollTop = line.offsetTop - this.box.offsetTop - this.box.clientHeight / 2;
      line.scrollIntoView({ block: "nearest" }); // the log may be out of view itself
    }
    this.#tell();
  }

  #tell() {
    const matches = this.#matches;
    const at = matches.indexOf(this.#current) + 1;
    const found = at ? t("{at} of {all}", { at, all: matches.length }) : String(matches.length);
    const text = !this.#text ? "" : matches.length ? found : t("none");
    if (this.found.textContent !== text) this.found.textContent = text;
  }
}
