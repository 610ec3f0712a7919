// Shows /openapi.json, with examples that can be sent to this server as they stand.
const csrfToken = document.querySelector("meta[name=csrf-token]").content;

/** Return the JSON at an address, or `instead` if the server does not answer with any. */
async function read(url, instead) {
  const response = await fetch(url).catch(() => null);
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
    validatorUrl: null, // the validator is a server on the internet
    requestInterceptor: (request) => {
      if (csrfToken) request.headers["X-CSRF-Token"] = csrfToken;
      return request;
    },
  });
}

show();
