/** The manual page labgear.yaml(5): every key of the schema with its description. */
import type { Kind } from "#/config/kinds.ts";
import { configSchema } from "#/config/schema.ts";
import { version } from "#/lib/version.ts";
import { heading, indented, item, pageStart, paragraph, verbatim } from "./roff.ts";

/** The part of JSON Schema that the configuration's schema uses. */
interface Schema {
  readonly [keyword: string]: unknown;
  readonly type?: string | readonly string[];
  readonly kind?: Kind;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly additionalProperties?: boolean | Schema;
  readonly oneOf?: readonly Schema[];
  readonly anyOf?: readonly Schema[];
}

/** In the format of man(7). */
export function configPage(): string {
  const schema = configSchema as Schema;
  return [
    pageStart("labgear.yaml", 5, version),
    heading("Name"),
    "labgear.yaml \\- the configuration of labgear\n",
    heading("Synopsis"),
    verbatim("/etc/labgear/labgear.yaml\n/etc/labgear/conf.d/*.yaml"),
    heading("Description"),
    paragraph(
      "YAML. The files in conf.d are merged over labgear.yaml in the order of their names: mappings are merged, lists and " +
        "single values replaced. After a change run `labgear check`, which reports each mistake with its line, then " +
        "`systemctl reload labgear`. An invalid file changes nothing.",
    ),
    paragraph("Durations are written 30m, 10s or 1h30m; sizes 2GiB (1024) or 4GB (1000)."),
    heading("Options"),
    ...properties(schema),
    heading("See also"),
    paragraph("labgear(1)"),
  ].join("");
}

function properties(schema: Schema): string[] {
  return Object.entries(schema.properties ?? {}).map(([name, value]) => entry(name, value));
}

function entry(name: string, schema: Schema): string {
  return item(name, sentence(schema)) + below(schema);
}

/** The keys inside a mapping, its entries, or a list's items. */
function below(schema: Schema): string {
  const { additionalProperties: named, items, oneOf = [], anyOf = [] } = schema;
  const parts = [
    ...properties(schema),
    ...(typeof named === "object" ? [entry("NAME", named)] : []),
    ...(items ? [below(items)] : []),
    ...[...oneOf, ...anyOf].map(below),
  ].join("");
  return parts === "" ? "" : indented(parts);
}

function sentence(schema: Schema): string {
  const { description = "", default: value } = schema;
  const fallback =
    value === undefined ? "" : ` Default: ${typeof value === "object" ? JSON.stringify(value) : value}.`;
  return `${description} ${form(schema)}${fallback}`.trim();
}

/** What is expected there, as `labgear check` puts it. */
function form({ kind, type, minimum, maximum, enum: values, items }: Schema): string {
  if (values) return `One of ${values.join(", ")}.`;
  if (kind) return `Expected: ${kind.expected}.`;
  const types = [type ?? []].flat();
  if (types.includes("integer"))
    return `Expected: a whole number${minimum === undefined ? "" : ` from ${minimum} to ${maximum}`}.`;
  if (types.includes("boolean")) return "Expected: true or false.";
  if (types.includes("array"))
    return `Expected: a list.${items?.kind ? ` Each: ${form(items).replace("Expected: ", "")}` : ""}`;
  return "";
}
