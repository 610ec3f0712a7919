// Shows /openapi.json. Who is signed in by cookie proves with each change that this page sent it.
const csrfToken = document.querySelector("meta[name=csrf-token]").content;

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null, // it would ask a server on the internet
  requestInterceptor: (request) => {
    if (csrfToken) request.headers["X-CSRF-Token"] = csrfToken;
    return request;
  },
});
