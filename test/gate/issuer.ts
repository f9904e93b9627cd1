/** An issuer on loopback, and the claims that the documentation of GitHub and GitLab shows. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, generateKeyPair, type JWK, SignJWT } from "jose";

/** Source: "OpenID Connect reference", docs.github.com: the example token of a push. */
export const githubPush = {
  sub: "repo:octo-org/octo-repo:ref:refs/heads/main",
  environment: "prod",
  ref: "refs/heads/main",
  sha: "0123456789abcdef0123456789abcdef01234567",
  repository: "octo-org/octo-repo",
  repository_owner: "octo-org",
  actor_id: "12",
  repository_visibility: "private",
  repository_id: "74",
  repository_owner_id: "65",
  run_id: "1234567890",
  run_number: "10",
  run_attempt: "2",
  runner_environment: "github-hosted",
  actor: "octocat",
  workflow: "example-workflow",
  head_ref: "",
  base_ref: "",
  event_name: "push",
  ref_type: "branch",
  job_workflow_ref: "octo-org/octo-repo/.github/workflows/ci.yml@refs/heads/main",
  workflow_ref: "octo-org/octo-repo/.github/workflows/ci.yml@refs/heads/main",
} as const;

/** The workflow of the default branch that runs after a fork's pull request was built. */
export const githubWorkflowRun = {
  ...githubPush,
  event_name: "workflow_run",
  job_workflow_ref: "octo-org/octo-repo/.github/workflows/hardware.yml@refs/heads/main",
  workflow_ref: "octo-org/octo-repo/.github/workflows/hardware.yml@refs/heads/main",
} as const;

/** A branch that GitHub's merge queue makes. */
export const githubMergeQueue = {
  ...githubPush,
  event_name: "merge_group",
  ref: "refs/heads/gh-readonly-queue/main/pr-104-0123456789abcdef0123456789abcdef01234567",
  sub: "repo:octo-org/octo-repo:ref:refs/heads/gh-readonly-queue/main/pr-104-0123456789abcdef0123456789abcdef01234567",
} as const;

/** Source: "OpenID Connect (OIDC) Authentication Using ID Tokens", docs.gitlab.com: the example payload. */
export const gitlabPush = {
  namespace_id: "72",
  namespace_path: "my-group",
  project_id: "20",
  project_path: "my-group/my-project",
  user_id: "1",
  user_login: "sample-user",
  user_email: "sample-user@example.com",
  user_identities: [{ provider: "github", extern_uid: "2435223452345" }],
  pipeline_id: "574",
  pipeline_source: "push",
  job_id: "302",
  ref: "main",
  ref_type: "branch",
  ref_path: "refs/heads/main",
  ref_protected: "true",
  groups_direct: ["mygroup/mysubgroup", "myothergroup/myothersubgroup"],
  environment: "test-environment2",
  environment_protected: "false",
  deployment_tier: "testing",
  runner_id: 1,
  runner_environment: "self-hosted",
  sha: "714a629c0b401fdce83e847fc9589983fc6f46bc",
  project_visibility: "public",
  ci_config_ref_uri: "gitlab.example.com/my-group/my-project//.gitlab-ci.yml@refs/heads/main",
  sub: "project_path:my-group/my-project:ref_type:branch:ref:main",
} as const;

export const audience = "lab.example";

export interface SignOptions {
  readonly audience?: string;
  readonly issuer?: string;
  /** Seconds from now. */
  readonly issued?: number;
  readonly notBefore?: number;
  readonly expires?: number;
}

/** Disposing of it takes it down. */
export class Issuer implements AsyncDisposable {
  readonly url: string;
  readonly #server: ReturnType<typeof createServer>;
  #keys: {
    readonly kid: string;
    readonly pair: Awaited<ReturnType<typeof generateKeyPair>>;
    readonly jwk: JWK;
  }[] = [];
  #asked = 0;
  /** Whether it answers. */
  isUp = true;

  private constructor(server: ReturnType<typeof createServer>) {
    this.#server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on("request", (request, response) => {
      this.#asked += 1;
      const body =
        request.url === "/.well-known/openid-configuration"
          ? { issuer: this.url, jwks_uri: `${this.url}/keys` }
          : { keys: this.#keys.map(({ jwk }) => jwk) };
      response.writeHead(this.isUp ? 200 : 500, { "content-type": "application/json" });
      response.end(JSON.stringify(body));
    });
  }

  static async start(): Promise<Issuer> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const issuer = new Issuer(server);
    await issuer.rotate();
    return issuer;
  }

  /** How many requests it has had. */
  get asked(): number {
    return this.#asked;
  }

  /** The public key, as anybody can read it. */
  get publicKey(): JWK {
    return this.#key.jwk;
  }

  /** From now on it signs with another key, and publishes no other. */
  async rotate(): Promise<void> {
    const kid = `key-${this.#keys.length + Math.random()}`;
    const pair = await generateKeyPair("RS256", { extractable: true });
    this.#keys = [
      { kid, pair, jwk: { ...(await exportJWK(pair.publicKey)), kid, alg: "RS256", use: "sig" } },
    ];
  }

  get #key() {
    const [key] = this.#keys;
    if (!key) throw new Error("no key");
    return key;
  }

  sign(claims: object, options: SignOptions = {}): Promise<string> {
    const { kid, pair } = this.#key;
    return this.#payload(claims, options)
      .setProtectedHeader({ alg: "RS256", kid, typ: "JWT" })
      .sign(pair.privateKey);
  }

  /** By a key that the issuer doesn't have, under a name that it has. */
  async forge(claims: object, header: Record<string, unknown>, key: CryptoKey | Uint8Array): Promise<string> {
    const { kid } = this.#key;
    return this.#payload(claims, {})
      .setProtectedHeader({ alg: "RS256", kid, ...header })
      .sign(key);
  }

  #payload(claims: object, options: SignOptions): SignJWT {
    const now = Math.floor(Date.now() / 1000);
    const token = new SignJWT({ ...claims, jti: crypto.randomUUID() })
      .setIssuer(options.issuer ?? this.url)
      .setAudience(options.audience ?? audience)
      .setIssuedAt(now + (options.issued ?? 0))
      .setExpirationTime(now + (options.expires ?? 300));
    return options.notBefore === undefined ? token : token.setNotBefore(now + options.notBefore);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, "close").catch(() => {});
  }
}
