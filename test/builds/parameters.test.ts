/** What pages and records show of a build's parameters. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { maskSecrets } from "#/builds/parameters.ts";

function shownAs(value: string): string | undefined {
  return maskSecrets(new Map([["X", value]])).X;
}

test("a value is masked by its name", () => {
  const secret = `API_KEY apikey apiKey x-api-key AWS_ACCESS_KEY_ID DB_PASS PASSWORD GPG_PASSPHRASE GITHUB_TOKEN TOKENS MY_TOKENS
    SWIFT_logs_hmac_body CLIENT_SECRET PRIVATE_KEY GCP_CREDENTIALS GCP_CREDS DB_PWD MYSQL_PWD GH_PAT SIGNING_KEY SSHKEY SSH_KEY_B64
    AUTH HTTP_AUTHORIZATION NPM_AUTH NPM_CONFIG__AUTH _auth AUTHENTICATION AUTHZ OAUTH OAUTH2 AUTH_HEADER authToken COOKIE COOKIES
    JWT PIN ENCRYPTION_KEY DSN SENTRY_DSN PASSWD PSWD_PASSWD HTPASSWD dbPassword SSHPASS KEYSTORE_PASS WIFI_PSK TOTP deploy.key
    DB_PW DBPASS ROOT_PASS SESSION_ID AccountKey MYSQL_ROOT_PASSWORD SSH_KEYS KEY SLACK_WEBHOOK`;
  const open = `ZUUL_UUID BYPASS_CACHE PASSES KEYBOARD COMPASS MONKEY MONKEYS TURKEY HOTKEY AUTHOR AUTHORS GIT_AUTHOR_NAME AUTHORITY
    PINE PINNED SPIN PATH PATCH PATTERN COMPAT KEYMAP AUTO PUBLIC_KEY PUBKEY CACHE_KEY COOKIECUTTER TOKENIZER SIGNAL SIGNED DESIGN JWTS_OFF DSNX`;
  const names = (list: string) => list.trim().split(/\s+/);
  const values = maskSecrets(new Map([...names(secret), ...names(open)].map((name) => [name, "value"])));
  for (const name of names(secret)) assert.equal(values[name], "[masked]", name);
  for (const name of names(open)) assert.equal(values[name], "value", name);
  assert.equal(
    Object.getOwnPropertyDescriptor(maskSecrets(new Map([["__proto__", "x"]])), "__proto__")?.value,
    "x",
  );
});

test("secrets within a value are masked, and the rest stays", () => {
  const table: Record<string, string> = {
    "https://me:pa55@host/x ssh://git@host https://host/a@b mail me@host":
      "https://[masked]@host/x ssh://[masked]@host https://host/a@b mail me@host",
    "https://ghp_0123@host:8080/": "https://[masked]@host:8080/",
    "https://me:p@ss@host/": "https://[masked]@host/",
    "redis://:pa55@host:6379/0": "redis://[masked]@host:6379/0",
    "host=db user=me password=p1 dbname=x": "host=db user=me password=[masked] dbname=x",
    "host=db password='p 1' dbname=x": "host=db password='[masked]' dbname=x",
    "Server=db;User Id=me;Password=p1,2;Encrypt=true": "Server=db;User Id=me;Password=[masked];Encrypt=true",
    "me:pa:55@tcp(db:3306)/x": "me:[masked]@tcp(db:3306)/x",
    "https://hook.example/in?token=t1&x=2#y": "https://hook.example/in?token=[masked]&x=2#y",
    "https://h/?x=1&access_token=t1": "https://h/?x=1&access_token=[masked]",
    "https://h/?X-Amz-Date=1&X-Amz-Signature=1&sig=2":
      "https://h/?X-Amz-Date=1&X-Amz-Signature=[masked]&sig=[masked]",
    "https://h/?next=https%3A%2F%2Fi%2F%3Fpwd%3Dt1": "https://h/?next=https%3A%2F%2Fi%2F%3Fpwd%3D[masked]",
    '{"user":"me","password":"p\\"1","n":1}': '{"user":"me","password":"[masked]","n":1}',
    "login --user me --password p1 -v": "login --user me --password [masked] -v",
    "login --password=p1 -v": "login --password=[masked] -v",
    "curl -H 'Authorization: Basic bWU6' h": "curl -H 'Authorization: [masked]' h",
    "Cookie: a=b; c=d\nHost: h": "Cookie: [masked]\nHost: h",
    "x bearer 0123456789abcdef y": "x bearer [masked] y",
    ghp_0123456789abcdef0123: "[masked]",
    "a eyJhbGciOi.eyJzdWIi.c2ln b": "a [masked] b",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----\ny": "[masked]\ny",
    "-----BEGIN PRIVATE KEY-----\nx": "[masked]",
    "-----BEGIN PUBLIC KEY-----\nx": "-----BEGIN PUBLIC KEY-----\nx",
    "alpine:3.19@sha256:0123 monkey=1 author: me basic authentication": "",
  };
  for (const [value, shown] of Object.entries(table)) assert.equal(shownAs(value), shown || value);
});

test("masking takes time in proportion to the value, whatever is in it", () => {
  for (const unit of [
    "://",
    "://a",
    "a:",
    "@",
    "://:",
    "a",
    "a ",
    "=a:",
    "-----BEGIN ",
    "eyJ",
    "basic ",
    '\\"',
  ]) {
    const value = unit.repeat(1_000_000 / unit.length);
    assert.equal(shownAs(value)?.length, value.length, unit);
  }
  for (const unit of ["xoxb-", "token=", "--token ", 'pwd="', "eyJa.eyJa.a ", "-----BEGIN PRIVATE KEY-----"])
    assert.match(shownAs(unit.repeat(1_000_000 / unit.length)) ?? "", /\[masked\]/);
});
