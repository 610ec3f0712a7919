// The page of the data sets: uploads with progress, replacing and deleting.

import { t } from "./texts.js";

let kit;

/** Start the page; returns what keeps it up to date. */
export function start(given) {
  kit = given;
  const { find, fetchPage, replaceParts } = kit;
  if (find("#drop")) startChanges();
  return {
    refresh: async () => replaceParts(await fetchPage(location.href)),
    live: () => find("#data").hasAttribute("data-pending"),
  };
}

function startChanges() {
  const { find, on } = kit;
  const drop = find("#drop");
  for (const event of ["dragenter", "dragover"]) {
    document.addEventListener(event, (moved) => {
      if (!moved.dataTransfer?.types.includes("Files")) return;
      moved.preventDefault();
      drop.classList.add("over");
    });
  }
  document.addEventListener("dragleave", ({ relatedTarget }) => {
    if (!relatedTarget) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    drop.classList.remove("over");
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    uploadAll(event.dataTransfer.files);
  });
  on("#files", "change", ({ target }) => {
    uploadAll(target.files);
    target.value = "";
  });
  drop.addEventListener("submit", (event) => event.preventDefault());
  on("#replacement", "change", ({ target }) => {
    const [file] = target.files;
    const { name, etag } = target.dataset;
    if (file) upload(file, name, { etag });
    target.value = "";
  });
  document.addEventListener("click", ({ target }) => {
    const row = target.closest?.("[data-act]") && target.closest("tr");
    if (!row) return;
    if (target.dataset.act === "delete") askToDelete(row.dataset.name);
    if (target.dataset.act === "replace") {
      const replacement = find("#replacement");
      Object.assign(replacement.dataset, row.dataset);
      replacement.click();
    }
  });
}

async function uploadAll(files) {
  for (const file of [...files]) await upload(file, file.name);
}

/** Upload a file and show how far it has got, and then what became of it. */
async function upload(file, name, { etag = null, overwrite = false, validate = true } = {}) {
  const { find, element, refresh } = kit;
  const bar = element("progress", { max: "1", value: "0", "aria-label": t("Upload of {name}", { name }) });
  const told = element("span", { class: "quiet" }, "0 %");
  const line = element("li", {}, element("strong", {}, name), " ", told, bar);
  find("#uploads").prepend(line);
  const answer = await send(file, name, { etag, overwrite, validate }, (share) => {
    bar.value = share;
    told.textContent = share < 1 ? `${Math.floor(100 * share)} %` : t("is being checked …");
  });
  bar.remove();
  if (answer.status === 200 || answer.status === 201) {
    told.textContent = answer.status === 201 ? t("is uploaded.") : t("is replaced.");
    refresh(true);
    return;
  }
  told.className = "wrong";
  told.textContent = answer.detail;
  const again = (label, options) => {
    const button = element("button", { type: "button" }, label);
    button.addEventListener("click", () => {
      line.remove();
      upload(file, name, options);
    });
    line.append(element("div", { class: "tools" }, button));
  };
  if (answer.status === 409) again(t("Replace it"), { overwrite: true, validate });
  if (answer.status === 422 && answer.line !== undefined) {
    again(t("Store it as it is"), { etag, overwrite, validate: false });
  }
}

/** Send a file; fetch cannot tell how much of a body was sent. Returns the answer's members. */
function send(file, name, { etag, overwrite, validate }, progressed) {
  const { find, address } = kit;
  const query = new URLSearchParams();
  if (overwrite) query.set("overwrite", "true");
  if (!validate) query.set("validate", "false");
  return new Promise((done) => {
    const request = new XMLHttpRequest();
    request.open("PUT", address(`/inputs/${encodeURIComponent(name)}?${query}`));
    request.setRequestHeader("Content-Type", "application/octet-stream");
    const token = find('meta[name="csrf-token"]')?.content;
    if (token) request.setRequestHeader("X-CSRF-Token", token);
    if (etag) request.setRequestHeader("If-Match", `"${etag}"`);
    request.upload.addEventListener("progress", ({ loaded, total }) => progressed(total ? loaded / total : 1));
    request.addEventListener("loadend", () => {
      if (request.status === 401) location.reload(); // the session has expired: sign in again
      let members = {};
      try {
        members = JSON.parse(request.responseText);
      } catch {
        members.detail = request.status
          ? t("The server answered {status}.", { status: request.status })
          : t("The server cannot be reached, or refused the file. Try again.");
      }
      done({ ...members, status: request.status });
    });
    request.send(file);
  });
}

/** Ask, and delete a data set; ask again if experiments use it. */
function askToDelete(name) {
  const { find, address, request, refresh, Problem } = kit;
  const dialog = find("#sure");
  const yes = find("[value=yes]", dialog);
  const wrong = find(".wrong", dialog);
  let force = false;
  find("#sure-title").textContent = t("Delete {name}?", { name });
  find(".lead", dialog).textContent = t("It is removed from the input folder. Experiments that used it cannot be retried.");
  wrong.textContent = "";
  Object.assign(yes, { textContent: t("Delete it"), disabled: false });
  yes.onclick = async (event) => {
    event.preventDefault();
    yes.disabled = true;
    try {
      await request(address(`/inputs/${encodeURIComponent(name)}?force=${force}`), { method: "DELETE" });
      dialog.close();
      refresh(true);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      wrong.textContent = error.message;
      force = error.status === 409;
      if (force) yes.textContent = t("Delete it nevertheless");
    } finally {
      yes.disabled = false;
    }
  };
  dialog.showModal();
}
