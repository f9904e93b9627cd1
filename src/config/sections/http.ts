/** The JSON schema of the pages and the API, the section `http`. */
import type { SchemaObject } from "ajv";
import { defaults } from "../defaults.ts";

/** The section's type once it has passed the schema. */
export interface HttpDocument {
  readonly listen?: string;
  readonly url?: string;
  readonly auth?: HttpAuthDocument;
}

export type HttpAuthDocument =
  | { readonly user: string; readonly "password-file": string }
  | { readonly "token-file": string };

export const httpSchema: SchemaObject = {
  type: ["object", "null"],
  description: "The pages and the API, read-only.",
  additionalProperties: false,
  properties: {
    listen: {
      type: "string",
      kind: "listen",
      default: defaults.listen,
      description:
        "Where they are served: HOST:PORT. 0.0.0.0 or [::] is every address; port 0 is any free one.",
    },
    url: {
      type: "string",
      kind: "url",
      description: "How users reach them, for the links sent to clients; absent: made from listen.",
    },
    auth: {
      type: "object",
      description: "Who may look: whoever has the password, or the token; absent: everybody.",
      additionalProperties: false,
      dependentRequired: { user: ["password-file"], "password-file": ["user"] },
      properties: {
        user: { type: "string", kind: "user", description: "The name that goes with the password." },
        "password-file": {
          type: "string",
          kind: "file",
          description: "The file with the password, relative to the file that names it.",
        },
        "token-file": {
          type: "string",
          kind: "file",
          description: "The file with the token that clients send as 'Authorization: Bearer TOKEN'.",
        },
      },
    },
  },
};
