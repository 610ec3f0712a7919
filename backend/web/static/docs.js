// Shows /openapi.json, with examples that can be sent to this server as they stand.
const csrfToken = document.querySelector("meta[name=csrf-token]")?.content;

const dark = matchMedia("(prefers-color-scheme: dark)");
const followScheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", followScheme);
followScheme();

/** Mend what Swagger UI draws: no link within a button, a name for every control. */
function mend() {
  for (const link of document.querySelectorAll(".opblock-summary-control a[href]")) link.removeAttribute("href");
  const controls = ":is(select, input, textarea):not([aria-label], [type=hidden])";
  for (const select of document.querySelectorAll(`#swagger-ui ${controls}`)) {
    const near = select.closest("tr")?.querySelector(".parameter__name")?.firstChild?.textContent;
    if (select.id in NAMES || !select.labels?.length) {
      select.setAttribute("aria-label", near || select.placeholder || NAMES[select.id] || "Content type");
    }
  }
  for (const region of document.querySelectorAll("#swagger-ui :is(pre, .highlight-code > *)")) {
    if (region.scrollWidth > region.clientWidth || region.scrollHeight > region.clientHeight) region.tabIndex = 0;
  }
}
const NAMES = { servers: "Server" };
new MutationObserver(mend).observe(document.getElementById("swagger-ui"), { childList: true, subtree: true });

/** Return the JSON at a path of this server, or `instead` if it does not answer with any. */
async function read(path, instead) {
  const response = await fetch(`${document.body.dataset.root}${path}`).catch(() => null);
  return response?.ok ? response.json() : instead;
}

/** Replace the examples: what is read exists, and what is changed is a new experiment. */
function adapt(document, experiments, dataSets) {
  const time = new Date().toISOString().replace(/\D/g, "").slice(0, 14);
  const submitted = `docs-${time}`;
  const known = experiments.map((experiment) => experiment.experiment_id);
  const dataSet = dataSets[0]?.name;
  for (const [path, operations] of Object.entries(document.paths)) {
    for (const [method, { parameters = [] }] of Object.entries(operations)) {
      const set = (name, value) => {
        const parameter = parameters.find((one) => one.name === name && one.in === "path");
        if (parameter && value) parameter.example = value;
      };
      set("experiment_id", method === "get" && known.length ? known[0] : submitted);
      set("name", method === "get" ? dataSet : `${submitted}.csv`);
      if (path === "/compare") {
        delete parameters.find(({ name }) => name === "ids").schema.example;
        parameters.find(({ name }) => name === "id").schema.example = known.length ? known : [submitted];
      }
    }
  }
  for (const [name, { properties: fields }] of Object.entries(document.components.schemas)) {
    if (name.endsWith("Out") || !fields?.experiment_id || !fields.dataset) continue; // no submission
    fields.experiment_id.example = submitted;
    fields.dataset.example = dataSet ?? ""; // empty: every file of the input folder
  }
  return document;
}

async function show() {
  const [spec, experiments, inputs] = await Promise.all([
    read("/openapi.json"), read("/experiments?limit=2", []), read("/inputs", {}),
  ]);
  SwaggerUIBundle({
    spec: spec && adapt(spec, experiments, inputs.inputs ?? inputs),
    dom_id: "#swagger-ui",
    deepLinking: true,
    syntaxHighlight: false, // its colours cannot be read on their background
    validatorUrl: null, // the validator is a server on the internet
    requestInterceptor: (request) => {
      if (csrfToken) request.headers["X-CSRF-Token"] = csrfToken;
      return request;
    },
  });
}

show();
