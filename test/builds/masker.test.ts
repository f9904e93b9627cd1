/** Secrets in a stream: as they are and encoded, however the stream is cut. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { Masker } from "#/builds/masker.ts";
import { seeded, seededBytes } from "../support/random.ts";

function masked(
  secrets: readonly (string | Buffer)[],
  stream: string | Buffer,
  cut = () => 1_000_000,
): string {
  const masker = new Masker(secrets.map((secret) => Buffer.from(secret as string)));
  const bytes = Buffer.from(stream as string);
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const size = cut();
    parts.push(Buffer.from(masker.write(bytes.subarray(at, at + size))));
    at += size;
  }
  return Buffer.concat([...parts, masker.end()]).toString("latin1");
}

/** Runs a shell command with the secret in $SECRET. */
function shell(command: string, secret: string): Buffer {
  return execFileSync("bash", ["-c", command], {
    env: { ...process.env, SECRET: secret },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

const secret = `p4ss/w+rd"'&%é\\ ü~end`;

test("a secret is masked as it is and in every encoding", () => {
  const forms: Record<string, string | Buffer> = {
    raw: secret,
    hex: Buffer.from(secret).toString("hex"),
    "hex in capitals": Buffer.from(secret).toString("hex").toUpperCase(),
    JSON: JSON.stringify(secret).slice(1, -1),
    URL: encodeURIComponent(secret),
    XML: secret.replaceAll("&", "&amp;"),
    "an attribute": secret.replaceAll("&", "&amp;").replaceAll('"', "&quot;").replaceAll("'", "&#39;"),
    "html.escape of Python": secret
      .replaceAll("&", "&amp;")
      .replaceAll('"', "&quot;")
      .replaceAll("'", "&#x27;"),
    "html of Go": secret.replaceAll("&", "&amp;").replaceAll('"', "&#34;").replaceAll("'", "&#39;"),
    "repr of Python": secret.replaceAll("\\", "\\\\").replaceAll("'", "\\'"),
    "printf %q": shell(`LC_ALL=C.UTF-8; printf %q "$SECRET"`, secret),
    form: new URLSearchParams({ a: secret }).toString().slice(2),
    "xxd -p": shell(`printf %s "$SECRET" | od -An -v -tx1 | tr -d ' '`, secret),
    od: shell(`printf %s "$SECRET" | od -An -v -tx1`, secret).subarray(1),
    "set -x": shell(`exec 2>&1; set -x; : "$SECRET"`, secret).subarray(4),
  };
  for (const [name, form] of Object.entries(forms)) {
    const shown = masked(
      [secret],
      Buffer.concat([Buffer.from("<"), Buffer.from(form as string), Buffer.from(">")]),
    );
    assert.match(shown, /^<'?\[masked\]'?\n?>$/, name);
  }
});

test("base64 is masked at each place within other data, on one line or wrapped", () => {
  const long = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-".repeat(3);
  for (const one of [secret, "abcd", long]) {
    for (const before of ["", "u", "u:", "ab:", "user:", "x".repeat(50)]) {
      for (const wrap of [0, 76, 64, 10]) {
        for (const after of ["", "\n", "!!"]) {
          const whole = Buffer.from(before + one + after);
          const text = whole.toString("base64");
          const lines = wrap === 0 ? text : text.replaceAll(new RegExp(`.{${wrap}}`, "g"), "$&\r\n");
          const shown = masked([one], lines);
          assert.ok(
            shown.includes("[masked]") || (one === "abcd" && wrap === 10),
            `${one} ${before} ${wrap}`,
          );
          // Of the secret's characters, those at its edges may stay: they have bits of the neighbours'.
          const rest = shown.replaceAll("[masked]", "").replaceAll(/[\r\n=]/g, "").length;
          const others = Math.ceil(((before.length + after.length) * 8) / 6) + 4;
          if (one.length >= 12)
            assert.ok(rest <= others + (wrap === 0 ? 0 : 4), `${shown} ${before} ${wrap}`);
        }
      }
    }
  }
  assert.match(
    masked([Buffer.from("fffffffbffbf", "hex")], "____-_-_ ////+/+/"),
    /^.?\[masked\]_? .?\[masked\]\/?$/,
  );
});

test("a secret of several lines is masked line by line, without lines of less than four bytes", () => {
  const pem = "-----BEGIN KEY-----\nabcdefgh\r\n  ij\n\tklmnop\n";
  assert.equal(masked([pem], `x\n${pem}klmnop ij`), "x\n[masked]\n[masked]\r\n  ij\n\t[masked]\n[masked] ij");
});

test("secrets that overlap or touch are masked as one", () => {
  assert.equal(masked(["aabb", "bbcc", "ccddee"], "aabbccddee.bbcc.aabbaabb"), "[masked].[masked].[masked]");
  assert.equal(masked(["abcd", "xabcdy"], "xabcdz xabcdy abc abcd"), "x[masked]z [masked] abc [masked]");
  assert.equal(masked(["aaaa"], `${"a".repeat(1001)}b`), "[masked]b");
});

test("what isn't a secret comes out at once, but for what may be its beginning", () => {
  const masker = new Masker([Buffer.from("secret")]);
  assert.equal(masker.write(Buffer.from("hello\n")).toString(), "hello\n");
  assert.equal(masker.write(Buffer.from("a sec")).toString(), "a ");
  assert.equal(masker.write(Buffer.from("tor\n")).toString(), "sector\n");
  assert.equal(masker.write(Buffer.from("no se")).toString(), "no ");
  assert.equal(masker.end().toString(), "se");
  // Ends of lines alone are never held back for long.
  assert.equal(masker.write(Buffer.from(`secr${"\n".repeat(10)}`)).toString(), `secr${"\n".repeat(10)}`);
  assert.equal(masker.write(Buffer.from(`secr${"\r".repeat(10)}`)).toString(), `secr${"\r".repeat(10)}`);
});

for (const seed of [1, 2, 3, 4, 5, 6]) {
  test(`it doesn't matter where the stream is cut, and nothing of a secret comes out (seed ${seed})`, () => {
    const random = seeded(seed);
    for (let round = 0; round < 60; round += 1) {
      const text = (length: number) => Array.from({ length }, () => "abA=+/ \n"[random(8)]).join("");
      const secrets = Array.from({ length: 1 + random(4) }, () =>
        random(3) === 0 ? seededBytes(random, 4 + random(40)) : Buffer.from(`${text(random(30))}abAb`),
      );
      const pieces = secrets.flatMap((one) => [
        one,
        one.subarray(0, random(one.length)),
        Buffer.from(one.toString("base64")),
        Buffer.from(one.toString("hex")),
        Buffer.from(text(5)),
        Buffer.from("\r\n"),
      ]);
      const stream = Buffer.concat(
        Array.from({ length: 30 }, () => pieces[random(pieces.length)] ?? Buffer.alloc(0)),
      );
      const whole = masked(secrets, stream);
      assert.equal(
        masked(secrets, stream, () => 1 + random(20)),
        whole,
      );
      assert.equal(
        masked(secrets, stream, () => 1),
        whole,
      );
      const rest = whole.replaceAll("[masked]", "\0");
      for (const line of secrets
        .flatMap((one) => one.toString("latin1").split(/[\r\n]+/))
        .map((one) => one.replaceAll(/^[ \t]+|[ \t]+$/g, "")))
        if (line.length >= 4) assert.ok(!rest.includes(line), JSON.stringify({ line, rest }));
      // What is left is what was there, in the same order.
      const parts = whole.split("[masked]");
      let at = 0;
      const original = stream.toString("latin1");
      for (const part of parts) {
        const found = original.indexOf(part, at);
        assert.ok(found >= at, "a part is missing");
        at = found + part.length;
      }
    }
  });
}
