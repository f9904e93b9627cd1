/** `links`: where the pages lead from what a build tests: to the review, the commit, the project. */
import type { SchemaObject } from "ajv";
import type { Kind } from "../kinds.ts";

/** What a template may name. */
const parts = ["project", "branch", "change", "patchset", "pipeline", "ref", "commit"];

/** A template for each of the things that have a link. */
export interface LinksConfig {
  readonly project?: string;
  readonly branch?: string;
  readonly change?: string;
  readonly pipeline?: string;
  readonly ref?: string;
  readonly commit?: string;
  readonly source?: string;
}

function refuseTemplate(text: string, parts: readonly string[]): string | true | undefined {
  const unknown = [...text.matchAll(/\{([^{}]*)\}/g)].find(([, name = ""]) => !parts.includes(name));
  if (unknown) return `names ${unknown[0]}; there are ${parts.map((part) => `{${part}}`).join(" ")}`;
  const example = text.replace(/\{[^{}]*\}/g, "x");
  // The address itself, and so where the link leads, is never a build's to choose.
  if (!/^https?:\/\/[^/{]+(?:\/|$)/.test(text) || !URL.canParse(example) || /[{}\s]/.test(example))
    return true;
  return undefined;
}

function template(named: readonly string[]): Kind {
  return {
    expected: "an http:// or https:// address with parts such as {project} or {change}",
    refuse: (text) => refuseTemplate(text, named),
  };
}

function link(description: string, named = parts): SchemaObject {
  return { type: "string", kind: template(named), description };
}

export const linksSchema: SchemaObject = {
  type: ["object", "null"],
  description:
    "Where the pages lead from what a build tests. {project}, {branch}, {change}, {patchset}, {pipeline}, {ref} and {commit} stand for what its parameters say.",
  additionalProperties: false,
  properties: {
    project: link("The project's page, such as https://github.com/{project}."),
    branch: link("The branch's page."),
    change: link("The review, such as https://review.example/{change}/{patchset}."),
    pipeline: link("The pipeline's page, such as Zuul's status."),
    ref: link("The ref's page."),
    commit: link("The commit's page, such as https://github.com/{project}/commit/{commit}."),
    source: link(
      "A line of a file that the console names as PATH:LINE, such as https://git.example/{project}/{path}#L{line}.",
      [...parts, "path", "line"],
    ),
  },
};
