/** Answers of the gate as its own OpenAPI document describes them. */
import assert from "node:assert/strict";
import { Ajv2020 } from "ajv/dist/2020.js";
import { openapi } from "#/gate/openapi.ts";

interface Described {
  readonly content?: Readonly<Record<string, object>>;
}

const ajv = new Ajv2020({ strict: false, validateFormats: false });
ajv.addSchema({ $id: "openapi", ...openapi });

const pointer = (...keys: readonly string[]) =>
  keys.map((key) => `/${encodeURIComponent(key.replaceAll("~", "~0").replaceAll("/", "~1"))}`).join("");

function templateOf(path: string): string | undefined {
  return Object.keys(openapi.paths).find((template) => {
    const pattern = template.replace("{path}", ".+").replaceAll(/\{\w+\}/g, "[^/]+");
    return new RegExp(`^${pattern}$`).test(path);
  });
}

/** What the document doesn't describe, such as a path that isn't there, may be answered in any way. */
export async function checkAnswer(method: string, path: string, response: Response): Promise<void> {
  const template = templateOf(new URL(path, "http://gate").pathname);
  if (template === undefined) return;
  const operations = (
    openapi.paths as Record<string, Record<string, { responses?: Record<string, Described> }>>
  )[template];
  const operation = operations?.[method.toLowerCase()];
  if (!operation?.responses) return;
  const status = String(response.status);
  const described = operation.responses[status];
  assert.ok(described, `${method} ${template} answers ${status}, which isn't described`);
  const type = response.headers.get("content-type")?.split(";")[0] ?? "";
  const types = Object.keys(described.content ?? {});
  if (types.length === 0 || types.includes("application/octet-stream")) return;
  assert.ok(types.includes(type), `${method} ${template} answers ${status} as ${type}`);
  if (type !== "application/json") return;
  const schema = pointer(
    "paths",
    template,
    method.toLowerCase(),
    "responses",
    status,
    "content",
    type,
    "schema",
  );
  const validate = ajv.compile({ $ref: `openapi#${schema}` });
  const body: unknown = await response.clone().json();
  assert.ok(validate(body), `${method} ${template} ${status}: ${ajv.errorsText(validate.errors)}`);
}
