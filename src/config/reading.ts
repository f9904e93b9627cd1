/** The files read through conf: one document of all of them, validated by conf with our schema. */
import { readFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import type { ErrorObject } from "ajv";
import Conf from "conf";
import { unreadable } from "./files.ts";
import { deferred, handOverKeyword, kindKeyword, laterKeyword } from "./keywords.ts";
import { mergeSources } from "./merge.ts";
import { quickAjv } from "./quick-ajv.ts";
import { configSchema } from "./schema.ts";
import { parseSource, type Source } from "./source.ts";

export interface Reading {
  readonly sources: readonly Source[];
  /** All sources merged. */
  readonly data: Readonly<Record<string, unknown>>;
  /** Everything that the schema refuses in the data. */
  readonly errors: readonly ErrorObject[];
}

/**
 * Making a Conf reads and validates once: conf opens the first file and asks `deserialize` for its data, which here are those of all files.
 * It then validates these, and throws one string; so a keyword of ours at the schema's root, which Ajv runs
 * after all others, hands us the errors themselves. conf writes a file only when reading it changed the data: as
 * Ajv neither fills in defaults nor converts types here, it never does, and as the file is there it makes no folder either.
 * @param files absolute paths of readable files, the first one first
 * @throws ConfigError UNREADABLE when one has gone meanwhile
 */
export function readThroughConf(files: readonly [string, ...string[]]): Reading {
  let reading: Reading = { sources: [], data: {}, errors: [] };
  const { properties, ...rootSchema } = deferred(configSchema);
  const found: ErrorObject[] = [];
  try {
    new Conf<Record<string, unknown>>({
      cwd: dirname(files[0]),
      configName: basename(files[0]),
      fileExtension: "",
      accessPropertiesByDotNotation: false,
      schema: properties,
      rootSchema: { ...rootSchema, handOver: true },
      ajvOptions: {
        ...quickAjv,
        allErrors: true,
        verbose: true,
        useDefaults: false,
        allowUnionTypes: true,
        strictRequired: false,
        keywords: [
          kindKeyword,
          laterKeyword((errors) => found.push(...errors)),
          handOverKeyword((errors) => {
            reading = { ...reading, errors: [...errors, ...found] };
          }),
        ],
      },
      deserialize: (text) => {
        const sources = files.map((file, index) => parseSource(file, index === 0 ? text : readText(file)));
        reading = { sources, data: mergeSources(sources), errors: [] };
        return reading.data;
      },
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall !== undefined) throw unreadable(files[0], error);
    // conf's own word for what the schema refused.
    if (reading.errors.length === 0) throw error;
  }
  return reading;
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw unreadable(file, error);
  }
}
