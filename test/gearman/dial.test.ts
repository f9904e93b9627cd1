/** Connecting, over TCP and TLS, to real servers and to peers that aren't job servers. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { Admin } from "#/gearman/client/admin.ts";
import { dial } from "#/gearman/wire/dial.ts";
import type { GearmanError, GearmanErrorCode } from "#/gearman/wire/errors.ts";
import { type Certificate, makeCa, makeCertificate } from "../support/certificates.ts";
import { lacks } from "../support/parts.ts";
import {
  freePort,
  startGearmand,
  startRawServer,
  startStunnel,
  temporaryFolder,
} from "../support/servers.ts";

/** Asserts a GearmanError of a code, with a text that matches. */
const fails = (promise: Promise<unknown>, code: GearmanErrorCode, text: RegExp) =>
  assert.rejects(promise, (error: GearmanError) => {
    assert.equal(error.name, "GearmanError", String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, text);
    assert.doesNotMatch(error.message, /\n/);
    return true;
  });

test("a port without a listener is UNREACHABLE", async () => {
  const port = await freePort();
  await fails(
    dial({ host: "127.0.0.1", port }),
    "UNREACHABLE",
    new RegExp(`127.0.0.1:${port} refuses connections`),
  );
});

test("a host that doesn't exist is UNREACHABLE", async () => {
  await fails(
    dial({ host: "no-such-host.invalid", port: 4730 }),
    "UNREACHABLE",
    /no-such-host\.invalid:4730 can't be/,
  );
});

test("aborting gives up with the reason", async () => {
  const reason = new Error("enough");
  await assert.rejects(dial({ host: "127.0.0.1", port: 9 }, { signal: AbortSignal.abort(reason) }), reason);
  await using silent = await startRawServer(() => controller.abort(reason));
  const controller = new AbortController();
  await assert.rejects(dial({ ...silent, tls: {} }, { signal: controller.signal }), reason);
});

test("a peer that never answers the TLS handshake times out", async () => {
  await using silent = await startRawServer(() => {});
  await fails(dial({ ...silent, tls: {} }, { timeoutMs: 200 }), "TLS", /does that port speak TLS\?/);
  await fails(
    dial({ ...silent, tls: {} }, { signal: AbortSignal.timeout(200) }),
    "TLS",
    /does that port speak TLS\?/,
  );
});

test("a peer that answers TLS in plain text is recognised", async () => {
  await using http = await startRawServer((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
  await fails(dial({ ...http, tls: {} }), "TLS", /answers in plain text/);
  await using closing = await startRawServer((socket) => socket.destroy());
  await fails(dial({ ...closing, tls: {} }), "TLS", /does that port speak TLS\?/);
});

describe("TLS in front of a real server", { skip: lacks("gearmand", "stunnel", "openssl") }, () => {
  const resources = new AsyncDisposableStack();
  let port = 0;
  let demandingPort = 0;
  let ca: Buffer;
  let otherCa: Buffer;
  let client: Certificate;

  before(async () => {
    const { path } = resources.use(await temporaryFolder());
    const gearmand = resources.use(await startGearmand());
    const [good, other] = await Promise.all([makeCa(path, "good-ca"), makeCa(path, "other-ca")]);
    const server = await makeCertificate(path, "server", good, "DNS:localhost");
    client = await makeCertificate(path, "client", good, "DNS:box");
    const stunnel = { to: gearmand.port, ...server };
    port = resources.use(await startStunnel(stunnel)).port;
    demandingPort = resources.use(await startStunnel({ ...stunnel, clientCa: good.cert })).port;
    [ca, otherCa] = await Promise.all([readFile(good.cert), readFile(other.cert)]);
  });
  after(() => resources.disposeAsync());

  test("with the right CA and name it works", async () => {
    await using admin = await Admin.connect({ host: "localhost", port, tls: { ca } });
    assert.match(await admin.version(), /^\d/);
  });

  test("a CA that isn't trusted", async () => {
    await fails(
      dial({ host: "localhost", port, tls: { ca: otherCa } }),
      "TLS",
      /CA that isn't trusted: give that CA/,
    );
    await fails(dial({ host: "localhost", port, tls: {} }), "TLS", /CA that isn't trusted/);
  });

  test("a name that the certificate doesn't carry", async () => {
    await fails(dial({ host: "127.0.0.1", port, tls: { ca } }), "TLS", /is for another name/);
  });

  test("a client certificate that is demanded", async () => {
    const { cert, key } = { cert: await readFile(client.cert), key: await readFile(client.key) };
    await using admin = await Admin.connect({
      host: "localhost",
      port: demandingPort,
      tls: { ca, cert, key },
    });
    assert.match(await admin.version(), /^\d/);
  });

  test("a client certificate that is demanded and missing", async () => {
    const ask = async () => {
      await using admin = await Admin.connect({ host: "localhost", port: demandingPort, tls: { ca } });
      await admin.version();
    };
    await fails(ask(), "TLS", /demands a client certificate/);
  });

  test("a certificate file that has no certificate", async () => {
    await fails(
      dial({ host: "localhost", port, tls: { ca, cert: "nonsense", key: "nonsense" } }),
      "TLS",
      /^TLS to localhost/,
    );
  });

  test("plain text to a TLS port", async () => {
    const ask = async () => {
      await using admin = await Admin.connect({ host: "localhost", port });
      await admin.version();
    };
    await assert.rejects(ask(), (error: GearmanError) => {
      assert.match(`${error.code} ${error.message}`, /GARBAGE.*speaks TLS|CLOSED/);
      return true;
    });
  });
});
