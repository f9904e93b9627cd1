/** Tokens that are accepted, and every kind that is forged, old, early, or somebody else's. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { describe, test } from "node:test";
import { generateKeyPair, UnsecuredJWT } from "jose";
import { Callers } from "#/gate/callers.ts";
import type { IssuerConfig } from "#/gate/config.ts";
import { Refusal } from "#/gate/errors.ts";
import { IssuerKeys } from "#/gate/issuer-keys.ts";
import type { Log } from "#/lib/log.ts";
import { folder } from "../config/folder.ts";
import { audience, githubPush, Issuer } from "./issuer.ts";

const log: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
const configOf = ({ url }: Issuer): IssuerConfig => ({ name: "github", url, audience, kind: "github" });

async function refusal(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof Refusal, String(error));
  // The caller learns nothing.
  if (error.code === "unauthenticated")
    assert.match(error.message, /^(the token isn't accepted|a token is needed)$/);
  return `${error.code}: ${error.why}`;
}

describe("tokens of an issuer", () => {
  test("who it is, and what is refused", async () => {
    await using issuer = await Issuer.start();
    await using stranger = await Issuer.start();
    const callers = new Callers(log);
    callers.use({ issuers: [configOf(issuer)], tokens: new Map() });
    const good = await callers.identify(await issuer.sign(githubPush));
    assert.equal(good.id, `github:${githubPush.sub}`);
    assert.equal(good.claims.get("repository_id"), "74");
    assert.equal(good.claims.get("issuer"), "github");

    const { privateKey } = await generateKeyPair("RS256");
    const publicKey = new TextEncoder().encode(JSON.stringify(issuer.publicKey));
    const [header = "", payload = "", signature = ""] = (await issuer.sign(githubPush)).split(".");
    const changed = Buffer.from(
      JSON.stringify({ ...JSON.parse(Buffer.from(payload, "base64url").toString()), repository_id: "75" }),
    );
    const { sub: _, ...nobody } = githubPush;
    const forged: [name: string, token: string | undefined, expected: RegExp][] = [
      ["none", undefined, /there is no token/],
      ["nonsense", "a.b.c", /can't be read/],
      ["an expired one", await issuer.sign(githubPush, { issued: -600, expires: -300 }), /has expired/],
      [
        "one that isn't valid yet",
        await issuer.sign(githubPush, { notBefore: 120 }),
        /isn't valid yet \(nbf\)/,
      ],
      [
        "one from the future",
        await issuer.sign(githubPush, { issued: 120, expires: 600 }),
        /isn't valid yet \(iat\)/,
      ],
      ["one that never ends", await issuer.sign(githubPush, { issued: -90_000, expires: 90_000 }), /too old/],
      [
        "one for somebody else",
        await issuer.sign(githubPush, { audience: "other.example" }),
        /aud is another one: "other\.example"/,
      ],
      ["another issuer's", await stranger.sign(githubPush), /is not configured/],
      [
        "another issuer's, in this one's name",
        await stranger.sign(githubPush, { issuer: issuer.url }),
        /no key of the issuer/,
      ],
      [
        "one without a signature",
        new UnsecuredJWT(githubPush)
          .setIssuer(issuer.url)
          .setAudience(audience)
          .setIssuedAt()
          .setExpirationTime("5m")
          .encode(),
        /algorithm isn't allowed/,
      ],
      [
        "HS256 with the public key",
        await issuer.forge(githubPush, { alg: "HS256" }, publicKey),
        /algorithm isn't allowed/,
      ],
      [
        "another key under the same name",
        await issuer.forge(githubPush, {}, privateKey),
        /isn't signed by the issuer's key/,
      ],
      [
        "a changed one",
        [header, changed.toString("base64url"), signature].join("."),
        /isn't signed by the issuer's key/,
      ],
      ["one without a subject", await issuer.sign(nobody), /has no sub/],
      [
        "one with its signature cut",
        [header, payload, signature.slice(0, 20)].join("."),
        /isn't signed by the issuer's key/,
      ],
    ];
    for (const [name, token, expected] of forged)
      assert.match(await refusal(callers.identify(token)), expected, name);
  });

  test("keys are asked for again when one is unknown or they are old, and not more often", async () => {
    await using issuer = await Issuer.start();
    let now = Date.now();
    const keys = new IssuerKeys(configOf(issuer), log, () => now);
    const old = await issuer.sign(githubPush, { expires: 3600 });
    await keys.verify(old);
    assert.equal(issuer.asked, 2);
    await issuer.rotate();
    const fresh = await issuer.sign(githubPush, { expires: 3600 });
    // Made-up names of keys don't become requests to the issuer.
    assert.match(await refusal(keys.verify(fresh)), /no key of the issuer/);
    assert.equal(issuer.asked, 2);
    now += 6000;
    assert.equal((await keys.verify(fresh)).sub, githubPush.sub);
    assert.equal(issuer.asked, 4);
    // The key that was rotated out counts no more.
    now += 6000;
    assert.match(await refusal(keys.verify(old)), /no key of the issuer/);
    await keys.verify(fresh);
    const asked = issuer.asked;
    now += 6 * 60_000;
    await keys.verify(fresh);
    assert.equal(issuer.asked, asked + 2);
  });

  test("an issuer that is down stops no token whose key is known", async () => {
    await using issuer = await Issuer.start();
    let now = Date.now();
    const keys = new IssuerKeys(configOf(issuer), log, () => now);
    issuer.isUp = false;
    const token = await issuer.sign(githubPush, { expires: 7200 });
    assert.match(
      await refusal(keys.verify(token)),
      /^unavailable: the keys of the issuer github can't be had/,
    );
    issuer.isUp = true;
    now += 6000;
    await keys.verify(token);
    issuer.isUp = false;
    now += 60 * 60_000;
    assert.equal((await keys.verify(token)).sub, githubPush.sub);
    assert.equal(keys.failures, 2);
    // Not for ever.
    now += 25 * 60 * 60_000;
    assert.match(await refusal(keys.verify(token)), /^unavailable/);
  });

  test("an issuer that says it is another one has no keys", async () => {
    await using issuer = await Issuer.start();
    const url = issuer.url.replace("127.0.0.1", "localhost");
    const keys = new IssuerKeys({ ...configOf(issuer), url }, log);
    assert.match(await refusal(keys.verify(await issuer.sign(githubPush, { issuer: url }))), /^unavailable/);
  });
});

test("static tokens: by their files, which may change at any time", async () => {
  const secret = "0123456789abcdef0123456789abcdef";
  using dir = folder({ jenkins: `${secret}\n`, empty: "\n" });
  const callers = new Callers(log);
  const tokens = new Map([
    ["jenkins", dir.at("jenkins")],
    ["empty", dir.at("empty")],
    ["gone", dir.at("gone")],
  ]);
  callers.use({ issuers: [], tokens });
  assert.deepEqual(await callers.identify(secret), {
    id: "token:jenkins",
    claims: new Map([["token", "jenkins"]]),
  });
  for (const wrong of [`${secret}0`, secret.slice(1), "x", ""])
    assert.match(await refusal(callers.identify(wrong)), /no static token is like this one/);
  writeFileSync(dir.at("jenkins"), "another-token-that-is-long-enough");
  assert.match(await refusal(callers.identify(secret)), /no static token is like this one/);
  assert.equal((await callers.identify("another-token-that-is-long-enough")).id, "token:jenkins");
});
