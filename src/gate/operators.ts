/** For the lab's operators alone, on an address of their own: what was refused and what was used, and metrics. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Address } from "#/lib/address.ts";
import { version } from "#/lib/version.ts";
import { challenge, isAuthorized, newHostCheck } from "#/web/access.ts";
import { html, trusted } from "#/web/pages/html.ts";
import type { Audit, KeptEntry } from "./audit.ts";
import type { Builds } from "./builds.ts";
import type { GateMetrics } from "./metrics.ts";
import type { Rule } from "./rules.ts";
import { listenAt } from "./server.ts";

export interface OperatorsOptions {
  readonly listen: Address;
  readonly tokenFile?: string;
  readonly audit: Audit;
  readonly builds: Builds;
  readonly metrics: GateMetrics;
  readonly rules: () => readonly Rule[];
}

const style = `body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color-scheme:light dark}
table{border-collapse:collapse;width:100%;margin-bottom:2rem}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #8884;vertical-align:top}
td.number,th.number{text-align:right}td{overflow-wrap:anywhere}time{white-space:nowrap}`;
const styleHash = createHash("sha256").update(style).digest("base64");

const headers = {
  "content-type": "text/html; charset=utf-8",
  "content-security-policy": `default-src 'none'; style-src 'sha256-${styleHash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cache-control": "no-store",
};

export async function startOperators(
  options: OperatorsOptions,
): Promise<AsyncDisposable & { readonly address: Address }> {
  const { listen, tokenFile } = options;
  const isKnownHost = tokenFile ? () => true : newHostCheck(undefined);
  const server = createServer(
    { maxHeaderSize: 8192, headersTimeout: 10_000, requestTimeout: 10_000 },
    (request, response) => {
      response.on("error", () => {});
      answer(request, response, options, isKnownHost).catch(() => response.destroy());
    },
  );
  server.maxConnections = 100;
  await listenAt(server, listen);
  return {
    address: { host: listen.host, port: (server.address() as AddressInfo).port },
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  options: OperatorsOptions,
  isKnownHost: (host: string) => boolean,
): Promise<void> {
  const { tokenFile, metrics } = options;
  const plain = (status: number, text: string, more = {}) =>
    response.writeHead(status, { "content-type": "text/plain; charset=utf-8", ...more }).end(`${text}\n`);
  if (request.method !== "GET") return void plain(405, "read only", { allow: "GET" });
  if (!isKnownHost(request.headers.host ?? "")) return void plain(421, "unknown host name");
  if (tokenFile && !(await isAuthorized({ kind: "token", tokenFile }, request.headers.authorization)))
    return void plain(401, "token required", { "www-authenticate": challenge });
  switch (request.url) {
    case "/":
      return void response.writeHead(200, headers).end(page(options));
    case "/metrics":
      return void response.writeHead(200, { "content-type": metrics.type }).end(await metrics.text());
    default:
      return void plain(404, "there is nothing here");
  }
}

function page({ audit, builds, rules }: OperatorsOptions): string {
  const recent = audit.recent.toReversed();
  const refused = recent.filter(({ event }) => event === "refused");
  const open = builds.open.map(({ record }) => record);
  const use = rules().map((rule) => ({
    rule,
    open: open.filter(({ rule: { id } }) => id === rule.id).length,
    minutes: builds.minutesToday(rule.id),
  }));
  return html`<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>The gate</title><style>${trusted(style)}</style></head>
<body>
<h1>The gate</h1>
<h2>Use of the rules today</h2>
<table><thead><tr><th scope="col">Rule</th><th scope="col">When</th><th scope="col" class="number">Builds now</th><th scope="col" class="number">Minutes</th></tr></thead>
<tbody>${use.map(
    ({ rule, open: count, minutes }) =>
      html`<tr><th scope="row">${rule.number}</th><td>${describeWhen(rule)}</td><td class="number">${count} of ${rule.allow.atOnce}</td><td class="number">${minutes}${rule.allow.minutesADay !== undefined && ` of ${rule.allow.minutesADay}`}</td></tr>`,
  )}</tbody></table>
<h2>Builds now</h2>
${open.length === 0 && html`<p>None.</p>`}
${
  open.length > 0 &&
  html`<table><thead><tr><th scope="col">Build</th><th scope="col">Who</th><th scope="col">Rule</th><th scope="col">Since</th></tr></thead>
<tbody>${open.map(
    (record) =>
      html`<tr><th scope="row">${record.facts ? `${record.facts.name}#${record.facts.number} on ${record.facts.node_name ?? record.facts.manager}` : `${record.job}, queued`}</th><td>${record.caller}</td><td>${record.rule.number}</td><td>${time(new Date(record.created).toISOString())}</td></tr>`,
  )}</tbody></table>`
}
<h2>Refused</h2>
${entriesTable(refused)}
<h2>What happened</h2>
${entriesTable(recent.filter(({ event }) => event !== "refused" && event !== "input"))}
<footer>labgear ${version}; the whole log is below STATE/audit</footer>
</body>
</html>
`.html;
}

function entriesTable(entries: readonly KeptEntry[]) {
  if (entries.length === 0) return html`<p>Nothing since the start.</p>`;
  return html`<table><thead><tr><th scope="col">Time</th><th scope="col">What</th><th scope="col">Facts</th></tr></thead>
<tbody>${entries
    .slice(0, 100)
    .map(
      ({ time: at, event, ...facts }) =>
        html`<tr><td>${time(at)}</td><th scope="row">${event}</th><td>${describe(facts)}</td></tr>`,
    )}</tbody></table>`;
}

const describeWhen = ({ when }: Rule): string =>
  [...when]
    .map(([name, patterns]) => `${name}: ${patterns.map(({ source }) => source).join(" or ")}`)
    .join(", ");

const describe = (facts: object): string =>
  Object.entries(facts)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`)
    .join(", ");

const time = (iso: string) =>
  html`<time datetime="${iso}">${iso.replace("T", " ").replace(/\.\d+Z$/, " UTC")}</time>`;
