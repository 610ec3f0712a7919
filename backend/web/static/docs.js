// Shows /openapi.json. A session needs the CSRF token for every request that changes something.
const csrfToken = document.querySelector("meta[name=csrf-token]").content;

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null, // the validator is a server on the internet
  requestInterceptor: (request) => {
    if (csrfToken) request.headers["X-CSRF-Token"] = csrfToken;
    return request;
  },
});
