/** The API's description (OpenAPI 3.1), made of the schemas that its answers are tested against. */
import { operations } from "./operations.ts";
import { schemas } from "./schemas.ts";

/**
 * Of the shapes. New keys and routes raise the second number, and readers are to pass over keys that they don't know; whatever
 * else changes raises the first.
 */
const apiVersion = "1.0.0";

/** @param program the version of labgear that serves it */
export function openApi(program: string) {
  return {
    openapi: "3.1.0",
    info: {
      title: "labgear",
      version: apiVersion,
      summary: "The builds, nodes and boards of a box, read only.",
      description: `Served by labgear ${program}. Times are ISO 8601 in UTC, or Unix milliseconds where they are numbers; offsets and sizes are bytes. Keys that are not described here may be added.`,
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "/" }],
    security: [{}, { basic: [] }, { token: [] }],
    paths: Object.fromEntries(
      operations.map(({ path, ...operation }) => [path, { get: describe(operation) }]),
    ),
    components: {
      schemas,
      securitySchemes: {
        basic: { type: "http", scheme: "basic" },
        token: { type: "http", scheme: "bearer" },
      },
    },
  };
}

function describe({
  id,
  summary,
  parameters = {},
  answer,
  type = "application/json",
  errors = [],
}: Described) {
  return {
    operationId: id,
    summary,
    parameters: Object.values(parameters),
    responses: {
      200: { description: summary, content: { [type]: answer ? { schema: answer } : {} } },
      ...Object.fromEntries(
        errors.map((status) => [
          status,
          {
            description: "It can't be answered; the text says why.",
            content: { "application/json": { schema: { $ref: "#/components/schemas/Error" } } },
          },
        ]),
      ),
    },
  };
}

type Described = Omit<(typeof operations)[number], "path">;
