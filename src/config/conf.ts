/**
 * conf reads a file here and validates it against a JSON schema, with the Ajv it brings. Two files are read this way: the configuration
 * (load.ts) and the agent's state (agent/state-store.ts). conf writes neither: operators write the one, and lib/replace-file.ts
 * the other, as conf syncs no folder and doesn't notice a short write.
 */
import { basename, dirname } from "node:path";
import type { ErrorObject, KeywordDefinition, SchemaObject, ValidateFunction } from "ajv";
import Conf from "conf";
import { type Kind, refuse } from "./kinds.ts";
import { isMapping } from "./merge.ts";

/**
 * Making a Conf reads the file and validates what `parse` returns. It writes the file only when validation changed the data, and
 * here Ajv neither fills in defaults nor converts types.
 * @param file its folder must exist; a missing file is not parsed and has no errors
 * @returns everything that the schema refuses
 * @throws what reading or parsing throws
 */
export function readThroughConf(
  file: string,
  schema: SchemaObject,
  parse: (text: string) => Record<string, unknown>,
): readonly ErrorObject[] {
  const errors: ErrorObject[] = [];
  new Conf<Record<string, unknown>>({
    cwd: dirname(file),
    configName: basename(file),
    fileExtension: "",
    accessPropertiesByDotNotation: false,
    deserialize: parse,
    rootSchema: { validated: bySections(schema) },
    ajvOptions: {
      verbose: true,
      useDefaults: false,
      allErrors: true,
      allowUnionTypes: true,
      strictRequired: false,
      // Checking our own schemas and optimizing code that runs once would take longer than the rest of the start.
      validateSchema: false,
      code: { optimize: false },
      keywords: [kindKeyword, validatedKeyword(errors)],
    },
  });
  return errors;
}

/** `kind`: the text, or the plain number, is of that kind. */
const kindKeyword: KeywordDefinition = {
  keyword: "kind",
  type: ["string", "number"],
  schemaType: "object",
  validate: (kind: Kind, value: string | number) => refuse(kind, value) === undefined,
};

/**
 * `validated`: validates against its schema and collects the errors, which conf itself would throw as one string. The schema is
 * compiled when the first value for it comes.
 */
function validatedKeyword(errors: ErrorObject[]): KeywordDefinition {
  return {
    keyword: "validated",
    schemaType: "object",
    compile: (schema: SchemaObject, _parent, { self }) => {
      let validate: ValidateFunction | undefined;
      return (data, context) => {
        validate ??= self.compile(schema);
        if (!validate(data, context)) errors.push(...(validate.errors ?? []));
        return true;
      };
    },
  };
}

/** Puts every section under `validated`: compiling takes longer than all the rest, and most files have few of the sections. */
function bySections(schema: SchemaObject): SchemaObject {
  const { properties, additionalProperties, items } = schema;
  const section = (child: SchemaObject): SchemaObject => {
    const inside = bySections(child);
    return isMapping(child.properties) ? { validated: inside } : inside;
  };
  return {
    ...schema,
    ...(isMapping(properties) && {
      properties: Object.fromEntries(
        Object.entries(properties).map(([name, child]) => [name, section(child as SchemaObject)]),
      ),
    }),
    ...(isMapping(additionalProperties) && { additionalProperties: section(additionalProperties) }),
    ...(isMapping(items) && { items: section(items) }),
  };
}
