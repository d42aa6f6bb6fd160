"use strict";

SwaggerUIBundle({
  dom_id: "#api",
  url: "/docs/openapi.json",
  deepLinking: true,
  docExpansion: "none",
  filter: true,
  displayRequestDuration: true,
  persistAuthorization: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
