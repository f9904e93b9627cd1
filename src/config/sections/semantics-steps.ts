/** What the schema can't say of a job's steps: one verb each, with the options that go with it. */

import { inWords } from "#/lib/text.ts";
import type { Finding } from "../explain.ts";
import { entries } from "../unchecked.ts";
import type { At } from "./semantics-job.ts";
import { stepOptions, stepVerbs } from "./steps.ts";

/** @param steps of one job, as the files have them */
export function checkSteps(steps: unknown, at: At): Finding[] {
  return entries(steps).flatMap(([place, step]) =>
    stepProblems(step).map(([message, ...path]) => at(message, "steps", place, ...path)),
  );
}

function stepProblems(step: Readonly<Record<string, unknown>>): [message: string, ...path: string[]][] {
  const keys = Object.keys(step);
  const verbs = keys.filter((key) => Object.hasOwn(stepVerbs, key));
  const [verb, other] = verbs;
  if (verb === undefined) {
    // What is no option may be a verb misspelt: the schema has said so.
    const isKnown = keys.every((key) => key === "name" || stepOptions.includes(key));
    return isKnown ? [[`needs a verb: one of ${inWords(Object.keys(stepVerbs))}`]] : [];
  }
  if (other !== undefined) return [[`has ${inWords(verbs)}: give each a step of its own`]];
  if (step.send === "" && step.enter === false) return [["types nothing: give it a text, or enter: true"]];
  return keys
    .filter((key) => stepOptions.includes(key) && !stepVerbs[verb]?.includes(key))
    .map((key) => {
      const fitting = Object.keys(stepVerbs).filter((name) => stepVerbs[name]?.includes(key));
      return [`goes with ${inWords(fitting)}, not with ${verb}`, key];
    });
}
