/** `rules` of the gate: what a rule matches, what it allows, and the mistakes that would let strangers in. */
import type { SchemaObject } from "ajv";
import type { Finding } from "#/config/errors.ts";
import { bytes, type Kind, kinds, matching, milliseconds } from "#/config/kinds.ts";
import { entries, type Mapping, mapping } from "#/config/merge.ts";
import { inWords, shown } from "#/lib/text.ts";
import { parseSize } from "#/lib/units.ts";
import { globPattern, wholePattern, wholePatternProblem } from "./patterns.ts";
import { type Allowance, type Priority, type Rule, ruleId } from "./rules.ts";

type Texts = string | number | boolean | readonly (string | number | boolean)[];

/** A rule once it has passed the schema. */
export interface RuleDocument {
  readonly when: Readonly<Record<string, Texts>>;
  readonly allow: {
    readonly jobs?: readonly string[];
    readonly classes?: readonly string[];
    readonly trust?: readonly ("lab" | "changes")[];
    readonly debug?: boolean;
    readonly checkout?: string;
    readonly inputs?: Readonly<Record<string, string | number>>;
    readonly parameters?: Readonly<Record<string, string>>;
    readonly priority?: Priority;
    readonly queue?: string;
    readonly run?: string;
    readonly "minutes-a-day"?: number;
    readonly "at-once"?: number;
    readonly leases?: string;
  };
}

const defaults = { trust: ["lab"], debug: false, priority: "normal", queue: "1h", atOnce: 10 } as const;

const claim = matching("the name of a claim", /^[A-Za-z][A-Za-z0-9_:./-]{0,127}$/);
const wanted = matching(
  "a text; * stands for any characters but a slash, ** for any",
  /^[^\p{Cc}]{1,1000}$/u,
);
const inputName = matching("the name of an input", /^[a-z][a-z0-9_]{0,63}$/);
const reserved = /^(?:LABGEAR|ZUUL|OFFLINE)_/;
const parameterName: Kind = {
  expected: "the name of a parameter",
  refuse: (text) => {
    if (reserved.test(text))
      return `${shown(text)} can't be allowed: the gate alone sets LABGEAR_*, ZUUL_* and OFFLINE_*`;
    return /^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(text) ? undefined : true;
  },
};
const wholeValue: Kind = {
  expected: "a pattern for the whole value",
  refuse: (text) => {
    const problem = wholePatternProblem(text);
    return problem && `${shown(text)} can't be used as a pattern: ${problem}`;
  },
};
const inputSize: Kind = {
  expected: "a size such as 8MiB",
  refuse: (text) => ((parseSize(text) ?? 0) > 0 ? undefined : true),
};
const sourceUrl = matching(
  "an https:// address without a path's end, such as https://github.com",
  /^(?:https|ssh):\/\/[^\s?#]+$/,
);

const globs = (description: string): SchemaObject => ({
  type: "array",
  minItems: 1,
  uniqueItems: true,
  items: { type: "string", kind: wanted },
  description,
});

export const rulesSchema = {
  type: "array",
  maxItems: 1000,
  description: "The first rule that matches a caller decides. A caller that none matches is refused.",
  items: {
    type: "object",
    additionalProperties: false,
    required: ["when", "allow"],
    properties: {
      when: {
        type: "object",
        description:
          "Claims of the token, and issuer or token for its name here: all have to match. A list means one of them. A claim that the token lacks never matches.",
        propertyNames: { kind: claim },
        additionalProperties: {
          type: ["string", "integer", "boolean", "array"],
          kind: wanted,
          minimum: 0,
          maximum: Number.MAX_SAFE_INTEGER,
          minItems: 1,
          items: {
            type: ["string", "integer", "boolean"],
            kind: wanted,
            minimum: 0,
            maximum: Number.MAX_SAFE_INTEGER,
          },
        },
      },
      allow: {
        type: "object",
        description: "What such a caller may do, and nothing else.",
        additionalProperties: false,
        minProperties: 1,
        properties: {
          jobs: globs("The jobs, by name; * stands for any characters but a slash. Default: none."),
          classes: globs("The classes of nodes. Default: any."),
          trust: {
            type: "array",
            minItems: 1,
            uniqueItems: true,
            items: { enum: ["lab", "changes"] },
            default: [...defaults.trust],
            description: "What the jobs may execute: only what is the lab's, or what a change brings, too.",
          },
          debug: {
            type: "boolean",
            default: defaults.debug,
            description: "Whether jobs with debug: true are allowed.",
          },
          checkout: {
            type: "string",
            kind: sourceUrl,
            description:
              "Where jobs with a checkout get the caller's repository from, such as https://github.com: that repository, ref and commit of the token. Default: such jobs aren't allowed.",
          },
          inputs: {
            type: "object",
            maxProperties: 64,
            propertyNames: { kind: inputName },
            additionalProperties: { type: ["string", "integer"], kind: inputSize },
            description: "The files that may be sent, by name, each with the largest size.",
          },
          parameters: {
            type: "object",
            maxProperties: 100,
            propertyNames: { kind: parameterName },
            additionalProperties: { type: "string", kind: wholeValue },
            description:
              "The parameters that may be set, by name, each with an RE2 pattern that matches the whole value.",
          },
          priority: {
            enum: ["high", "normal", "low"],
            default: defaults.priority,
            description: "The place in the queue. A caller may ask for a lower one.",
          },
          queue: {
            type: "string",
            kind: kinds.duration,
            default: defaults.queue,
            description: "How long a build may wait for a node.",
          },
          run: {
            type: "string",
            kind: kinds.duration,
            description: "How long a build may run. Default: the job's own timeout.",
          },
          "minutes-a-day": {
            type: "integer",
            minimum: 1,
            maximum: 1_000_000,
            description:
              "How many minutes all builds and leases of the rule may take a day (UTC). Default: no limit.",
          },
          "at-once": {
            type: "integer",
            minimum: 1,
            maximum: 1000,
            default: defaults.atOnce,
            description: "How many builds and leases of the rule may wait or run at the same time.",
          },
          leases: {
            type: "string",
            kind: kinds.duration,
            description:
              "For how long a board may be leased at once, where its lab allows that. Default: not at all.",
          },
        },
      },
    },
  },
} as const satisfies SchemaObject;

/** What says which repository a token of GitHub is for; a called workflow alone doesn't: anybody can call it. */
const githubOwners = ["repository_id", "repository", "repository_owner_id", "enterprise_id", "sub"];
const gitlabOwners = ["project_id", "project_path", "namespace_id", "namespace_path", "sub"];

/** @param kinds of the issuers, by name */
export function checkRules(data: Mapping, kinds: ReadonlyMap<string, string>): Finding[] {
  const tokens = mapping(data.tokens);
  return entries(data.rules).flatMap(([index, rule]) => {
    const when = mapping(rule.when);
    const { jobs, leases } = mapping(rule.allow);
    if (jobs === undefined && leases === undefined)
      return [{ path: ["rules", index, "allow"], message: "allows nothing: add jobs or leases" }];
    const at = (message: string, ...path: string[]) => ({ path: ["rules", index, "when", ...path], message });
    const { issuer, token } = when;
    if (issuer === undefined && token === undefined)
      return [at("needs issuer or token: any issuer could make tokens with these claims")];
    if (issuer !== undefined && token !== undefined)
      return [at("has issuer and token, and no caller has both: remove one")];
    const [key, names] =
      issuer === undefined ? ["token", Object.keys(tokens)] : ["issuer", [...kinds.keys()]];
    const unknown = [when[key]].flat().find((name) => !names.includes(String(name)));
    if (unknown !== undefined) {
      const known = names.length > 0 ? `expected ${inWords(names, "or")}` : `there is none under ${key}s`;
      return [at(`${shown(unknown)} is not configured: ${known}`, key)];
    }
    if (issuer === undefined) return [];
    return [issuer]
      .flat()
      .flatMap((name) => checkOwner(when, kinds.get(String(name)) ?? "other").map((text) => at(text)));
  });
}

function checkOwner(when: Mapping, kind: string): string[] {
  const has = (names: readonly string[]) => names.some((name) => when[name] !== undefined);
  if (kind === "github") {
    return [
      ...(when.event_name === undefined
        ? [
            "needs event_name: workflow_run and merge queues have refs of the repository itself, but run what others wrote",
          ]
        : []),
      ...(has(githubOwners) ? [] : ["matches every repository of the issuer: add repository_id"]),
    ];
  }
  if (kind === "gitlab")
    return has(gitlabOwners) ? [] : ["matches every project of the issuer: add project_id"];
  return Object.keys(when).length > 1 ? [] : ["matches every token of the issuer: add a claim such as sub"];
}

/** What is no mistake, and yet more than people may want. */
export function ruleWarnings(rules: readonly Rule[], kinds: ReadonlyMap<string, string>): string[] {
  return rules.flatMap(({ number, when, allow }) => {
    const issuers = when.get("issuer")?.map(({ source }) => kinds.get(source)) ?? [];
    const events = when.get("event_name")?.map(({ source }) => source) ?? [];
    const lacks = (name: string, form: RegExp) =>
      issuers.includes("github") && when.get(name)?.find(({ source }) => !form.test(source))?.source;
    const ref = lacks("ref", /^(refs\/|\*)/);
    const workflow = lacks("job_workflow_ref", /@|\*$/) || lacks("workflow_ref", /@|\*$/);
    const warnings = [
      ref ? `never matches ref ${shown(ref)}: GitHub's is such as refs/heads/main` : undefined,
      workflow
        ? `never matches ${shown(workflow)}: GitHub's is such as OWNER/NAME/.github/workflows/FILE@refs/heads/main`
        : undefined,
      issuers.includes("github") && when.has("repository") && !when.has("repository_id")
        ? "matches repository without repository_id: a name can be taken by somebody else"
        : undefined,
      issuers.includes("gitlab") && when.has("project_path") && !when.has("project_id")
        ? "matches project_path without project_id: a path can be taken by somebody else"
        : undefined,
      events.some((event) => ["workflow_run", "*", "**"].includes(event)) &&
      !when.has("job_workflow_ref") &&
      !when.has("workflow_ref")
        ? "allows workflow_run without job_workflow_ref: every workflow of the repository could submit what strangers made"
        : undefined,
      events.includes("pull_request_target")
        ? "allows pull_request_target: such a workflow must never run what the pull request brings"
        : undefined,
      allow.trust.includes("changes") && events.some((event) => /^(workflow_run|pull_request)/.test(event))
        ? "allows trust: changes to what comes from pull requests: a stranger's code would run on the box"
        : undefined,
    ];
    return warnings.filter((text) => text !== undefined).map((text) => `rule ${number} ${text}`);
  });
}

export function resolveRule({ when, allow }: RuleDocument, number: number): Rule {
  const patterns = new Map(
    Object.entries(when).map(([name, texts]) => [
      name,
      [texts].flat().map((text) => globPattern(String(text))),
    ]),
  );
  const { jobs = [], classes, checkout, run, leases } = allow;
  const minutesADay = allow["minutes-a-day"];
  const resolved: Allowance = {
    jobs: jobs.map(globPattern),
    ...(classes && { classes: classes.map(globPattern) }),
    trust: allow.trust ?? defaults.trust,
    debug: allow.debug ?? defaults.debug,
    ...(checkout !== undefined && { checkout: checkout.replace(/\/+$/, "") }),
    inputs: new Map(Object.entries(allow.inputs ?? {}).map(([name, size]) => [name, bytes(size)])),
    parameters: new Map(
      Object.entries(allow.parameters ?? {}).map(([name, text]) => [name, wholePattern(text)]),
    ),
    priority: allow.priority ?? defaults.priority,
    queueMs: milliseconds(allow.queue ?? defaults.queue),
    ...(run !== undefined && { runMs: milliseconds(run) }),
    ...(minutesADay !== undefined && { minutesADay }),
    atOnce: allow["at-once"] ?? defaults.atOnce,
    ...(leases !== undefined && { leasesMs: milliseconds(leases) }),
  };
  return { number, id: ruleId(patterns), when: patterns, allow: resolved };
}
