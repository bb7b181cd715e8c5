// Node's fetch as a browser would use it from another origin: first the CORS preflight, as browsers do by themselves.
// usage: node web.mjs SERVER KEY SESSION

import { scenario } from "./grpc_web.mjs";

const [server, key, session] = process.argv.slice(2);
const wanted = ["authorization", "content-type", "x-grpc-web"];
const preflight = await fetch(`${server}/steward.v1.Projects/List`, {
  method: "OPTIONS",
  headers: {
    origin: "https://console.example",
    "access-control-request-method": "POST",
    "access-control-request-headers": wanted.join(","),
  },
});
const words = (name) => (preflight.headers.get(name) ?? "").toLowerCase().split(/\s*,\s*/);
const cors = {
  ok: preflight.ok,
  origin: ["*", "https://console.example"].includes(preflight.headers.get("access-control-allow-origin")),
  // To a browser `*` does not stand for `authorization`: it must be named.
  headers: wanted.every((name) => words("access-control-allow-headers").includes(name)),
  method: words("access-control-allow-methods").some((method) => method === "post" || method === "*"),
};
console.log(JSON.stringify({ cors, ...(await scenario(server, key, session)) }));
