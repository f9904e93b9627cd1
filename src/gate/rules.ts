/**
 * Who may do what, as a pure function: the first rule that matches a caller's claims decides. A claim that the caller lacks never
 * matches, and without a matching rule nothing is allowed.
 */
import { createHash } from "node:crypto";
import { shown } from "#/lib/text.ts";
import type { TextPattern } from "./patterns.ts";

/**
 * What is known of a caller. `issuer` or `token`, the names that the configuration gives, are set by the gate; claims of those names
 * in a token are dropped. A list matches when one of its entries does.
 */
export type Claims = ReadonlyMap<string, string | readonly string[]>;

/** Of what a rule may say. */
export interface Allowance {
  readonly jobs: readonly TextPattern[];
  /** Absent: any. */
  readonly classes?: readonly TextPattern[];
  readonly trust: readonly ("lab" | "changes")[];
  /** Whether jobs with `debug: true` are allowed. */
  readonly debug: boolean;
  /** Where checkouts come from; absent: no job with a checkout is allowed. */
  readonly checkout?: string;
  /** By name: how many bytes each may have. */
  readonly inputs: ReadonlyMap<string, number>;
  /** By name: what the whole value has to match. */
  readonly parameters: ReadonlyMap<string, TextPattern>;
  /** The highest one. */
  readonly priority: Priority;
  readonly queueMs: number;
  /** Absent: as long as the job's own timeout. */
  readonly runMs?: number;
  readonly minutesADay?: number;
  readonly atOnce: number;
  /** For how long a board may be leased; absent: not at all. */
  readonly leasesMs?: number;
}

export type Priority = "high" | "normal" | "low";

export interface Rule {
  /** Counted from 1. */
  readonly number: number;
  /** Of what it matches: it stays when rules before it come and go, so minutes are counted by it. */
  readonly id: string;
  /** By claim: one of these. */
  readonly when: ReadonlyMap<string, readonly TextPattern[]>;
  readonly allow: Allowance;
}

export function ruleId(when: Rule["when"]): string {
  const parts = [...when].map(([name, patterns]) => [name, patterns.map(({ source }) => source).sort()]);
  return createHash("sha256").update(JSON.stringify(parts.sort())).digest("hex").slice(0, 12);
}

/** @returns undefined: nothing is allowed */
export function decide(rules: readonly Rule[], claims: Claims): Rule | undefined {
  return rules.find((rule) => mismatch(rule, claims) === undefined);
}

/** A line for each rule, up to the one that decides: why it matches, or doesn't. */
export function explain(rules: readonly Rule[], claims: Claims): { decision?: Rule; lines: string[] } {
  const lines: string[] = [];
  for (const rule of rules) {
    const why = mismatch(rule, claims);
    if (why === undefined) {
      lines.push(`rule ${rule.number} matches and decides`);
      return { decision: rule, lines };
    }
    lines.push(`rule ${rule.number} doesn't match: ${why}`);
  }
  return { lines: [...lines, "no rule matches: nothing is allowed"] };
}

function mismatch({ when }: Rule, claims: Claims): string | undefined {
  for (const [name, patterns] of when) {
    const value = claims.get(name);
    const wanted = patterns.map(({ source }) => shown(source, 200)).join(" or ");
    if (value === undefined) return `there is no ${name}, and it wants ${wanted}`;
    const values = typeof value === "string" ? [value] : value;
    if (!values.some((text) => patterns.some((pattern) => pattern.matches(text))))
      return `${name} is ${values.map((text) => shown(text, 200)).join(", ") || "empty"}, and it wants ${wanted}`;
  }
  return undefined;
}

/** Longer ones match no rule that anybody writes. */
const maxClaimLength = 4096;

/**
 * @param payload of a token, or of `--explain`
 * @param origin the name of the issuer, or of the static token
 */
export function claimsOf(
  payload: Readonly<Record<string, unknown>>,
  origin: { readonly issuer: string } | { readonly token: string },
): Claims {
  const claims = new Map<string, string | readonly string[]>();
  for (const [name, value] of Object.entries(payload)) {
    const list = Array.isArray(value) ? value.map(asText).filter((text) => text !== undefined) : undefined;
    const claim = list ?? asText(value);
    if (claim !== undefined) claims.set(name, claim);
  }
  claims.delete("issuer");
  claims.delete("token");
  for (const [name, value] of Object.entries(origin)) claims.set(name, value);
  return claims;
}

function asText(value: unknown): string | undefined {
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  return typeof value === "string" && value.length <= maxClaimLength ? value : undefined;
}
