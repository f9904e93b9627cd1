/** Our own keywords of JSON schemas, as Ajv runs them. */
import {
  _,
  type ErrorObject,
  type KeywordDefinition,
  Name,
  type SchemaObject,
  type ValidateFunction,
} from "ajv";
import { type KindName, refuse } from "./kinds.ts";
import { isMapping } from "./merge.ts";

type TakeErrors = (errors: readonly ErrorObject[]) => void;

/** `kind`: the text, or the plain number, is of a kind of kinds.ts. */
export const kindKeyword: KeywordDefinition = {
  keyword: "kind",
  type: ["string", "number"],
  schemaType: "string",
  validate: (kind: KindName, value: string | number) => refuse(kind, value) === undefined,
};

/** `handOver`: gives the errors of all other keywords to a function. Ajv's code keeps them in a variable `vErrors` (null: none). */
export function handOverKeyword(take: TakeErrors): KeywordDefinition {
  return {
    keyword: "handOver",
    schemaType: "boolean",
    post: true,
    code: ({ gen }) => {
      const ref = (errors: readonly ErrorObject[] | null): void => take(errors ?? []);
      gen.code(_`${gen.scopeValue("func", { ref })}(${new Name("vErrors")})`);
    },
  };
}

/** `later`: a schema that is compiled when the first value for it comes; its errors go to a function, and nowhere else. */
export function laterKeyword(take: TakeErrors): KeywordDefinition {
  return {
    keyword: "later",
    schemaType: "object",
    valid: true,
    compile: (schema: SchemaObject, _parent, { self }) => {
      let validate: ValidateFunction | undefined;
      return (data, context) => {
        validate ??= self.compile(schema);
        if (!validate(data, context)) take(validate.errors ?? []);
        return true;
      };
    },
  };
}

/**
 * The schema with every section in it put off by `later`. Compiling takes longer than all else that is done with a
 * configuration, and most have few of the sections.
 */
export function deferred(schema: SchemaObject): SchemaObject {
  const { properties, additionalProperties, items } = schema;
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

function section(schema: SchemaObject): SchemaObject {
  const inside = deferred(schema);
  return isMapping(schema.properties) ? { later: inside } : inside;
}
