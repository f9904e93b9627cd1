/** What a client makes of a gate's refusals. */
import assert from "node:assert/strict";
import { createServer, type IncomingMessage, STATUS_CODES } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { submitUntilTaken } from "#/cli/build/gate.ts";
import { CommandError } from "#/cli/exit.ts";
import { GateClient, GateRefusal } from "#/client/gate.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { bounded } from "../support/servers.ts";

interface Answer {
  readonly status: number;
  readonly body: object;
  readonly retryAfter?: string;
}

const busy = (retryAfter?: string): Answer => ({
  ...{ status: 429, body: { error: "busy", message: "2 builds at once are allowed" } },
  ...(retryAfter !== undefined && { retryAfter }),
});
const taken: Answer = { status: 201, body: { uuid: "0".repeat(32), key: "k" } };

/** Gives these answers one after the other, and the last one again and again. */
async function startAnswering(...answers: Answer[]) {
  let asked = 0;
  const next = (request: IncomingMessage) => {
    request.resume();
    const { status, body, retryAfter } = answers[Math.min(asked++, answers.length - 1)] ?? taken;
    const text = JSON.stringify(body);
    const headers = {
      ...{ "content-length": text.length, connection: "close" },
      ...(retryAfter !== undefined && { "retry-after": retryAfter }),
    };
    return { status, headers, text };
  };
  const server = createServer((request, response) => {
    const { status, headers, text } = next(request);
    response.writeHead(status, headers).end(text);
  });
  server.on("upgrade", (request, socket) => {
    const { status, headers, text } = next(request);
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join("")}\r\n${text}`);
  });
  const listening = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", listening.resolve);
  await bounded(listening.promise);
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  return {
    gate: new GateClient({ url, token: async () => "token" }),
    asked: () => asked,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

test("Retry-After: a client that may not wait for so long gives up at once", async () => {
  await using answering = await startAnswering(busy("60"));
  const options = { say() {}, queueTimeoutMs: 30_000 };
  await assert.rejects(
    bounded(submitUntilTaken(answering.gate, {}, options)),
    (error) => error instanceof CommandError && error.code === "gaveUp",
  );
  assert.equal(answering.asked(), 1);
});

test("Retry-After: it tries again after that", async () => {
  await using answering = await startAnswering(busy("1"), taken);
  const said: string[] = [];
  const options = { say: (text: string) => void said.push(text), queueTimeoutMs: undefined };
  const build = await bounded(submitUntilTaken(answering.gate, {}, options));
  assert.deepEqual([build.uuid, answering.asked(), said.length], ["0".repeat(32), 2, 1]);
});

for (const [given, expected] of [
  ["7", 7000],
  ["86400", 300_000],
  ["0", undefined],
  ["-5", undefined],
  ["Mon, 30 Nov 2026 00:00:00 GMT", undefined],
  [undefined, undefined],
] as const) {
  test(`Retry-After: ${given}`, async () => {
    await using answering = await startAnswering(busy(given));
    await assert.rejects(
      bounded(answering.gate.queue()),
      (error) => error instanceof GateRefusal && error.retryAfterMs === expected,
    );
  });
}

test("why a lease's line is refused", async () => {
  const body = { error: "not-found", message: "no such build, or the key isn't its" };
  await using answering = await startAnswering({ status: 404, body });
  await assert.rejects(
    bounded(answering.gate.openLease({ uuid: "0".repeat(32), key: "k" })),
    (error) =>
      error instanceof GateRefusal && error.code === "not-found" && error.message.endsWith(body.message),
  );
});

const fromProxy = (status: number): Answer => ({ status, body: { html: "an error page" } });

test("a proxy that can't reach the gate: it tries again", async () => {
  await using answering = await startAnswering(fromProxy(502), fromProxy(504), taken);
  const said: string[] = [];
  const options = { say: (text: string) => void said.push(text), queueTimeoutMs: undefined };
  const build = await bounded(submitUntilTaken(answering.gate, {}, options));
  assert.deepEqual([build.uuid, answering.asked()], ["0".repeat(32), 3]);
  assert.match(said[0] ?? "", /answers with 502: the proxy there can't reach the gate; trying again$/);
});

test("a proxy that can't reach the gate: a lease's line is only lost", async () => {
  await using answering = await startAnswering(fromProxy(502));
  await assert.rejects(
    bounded(answering.gate.openLease({ uuid: "0".repeat(32), key: "k" })),
    (error) => error instanceof GearmanError && error.code === "UNREACHABLE",
  );
});

for (const [status, expected] of [
  [413, /takes no file of this size \(nginx: client_max_body_size 0\)$/],
  [405, /answers with 405: that is no gate of labgear, or a proxy that doesn't let this through$/],
] as const) {
  test(`what isn't a gate's answer: ${status}`, async () => {
    await using answering = await startAnswering(fromProxy(status));
    await assert.rejects(
      bounded(answering.gate.queue()),
      (error) => error instanceof GateRefusal && expected.test(error.message),
    );
  });
}
