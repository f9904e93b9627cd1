/** The change that a build tests, as its parameters name it: Zuul's, or what GitHub Actions and GitLab CI hand to their jobs. */

export interface Change {
  readonly project?: string;
  readonly branch?: string;
  /** The change's number: Gerrit's, a pull request's, a merge request's. */
  readonly change?: string;
  readonly patchset?: string;
  readonly pipeline?: string;
  readonly ref?: string;
  readonly commit?: string;
}

/** The parameters that say it, the first that is there. ZUUL_UPDATED_… are of Zuul's ref-updated events (2013 to 2.6). */
const parameterNames: Readonly<Record<keyof Change, readonly string[]>> = {
  project: ["ZUUL_PROJECT", "GITHUB_REPOSITORY", "CI_PROJECT_PATH"],
  branch: ["ZUUL_BRANCH", "GITHUB_HEAD_REF", "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_COMMIT_BRANCH"],
  change: ["ZUUL_CHANGE", "CI_MERGE_REQUEST_IID"],
  patchset: ["ZUUL_PATCHSET"],
  pipeline: ["ZUUL_PIPELINE", "GITHUB_WORKFLOW"],
  ref: ["ZUUL_REF", "ZUUL_REFNAME", "GITHUB_REF", "CI_COMMIT_REF_NAME"],
  commit: ["ZUUL_COMMIT", "ZUUL_NEWREV", "GITHUB_SHA", "CI_COMMIT_SHA"],
};

const changeKeys = Object.keys(parameterNames) as readonly (keyof Change)[];

/** Kept in memory for each build. */
const maxLength = 200;

/**
 * @param parameters of the build
 * @param commit what was checked out; counts more than what the parameters name
 * @returns undefined if they name none
 */
export function changeOf(
  parameters: Readonly<Record<string, string>>,
  commit: string | undefined,
): Change | undefined {
  const found = changeKeys.flatMap((key): [string, string][] => {
    const named = parameterNames[key].map((name) => parameters[name]).find(Boolean);
    const value = key === "commit" ? (commit ?? named) : named;
    return value ? [[key, value.slice(0, maxLength)]] : [];
  });
  return found.length === 0 ? undefined : Object.fromEntries(found);
}

/** @returns as people write it: `project 1234,5 (main)`, or with a ref or commit where there is no number */
export function changeTitle({ project, change, patchset, branch, ref, commit }: Change): string {
  const number = change && (patchset ? `${change},${patchset}` : change);
  const what = number ?? (branch ? undefined : ref) ?? (branch ? undefined : commit?.slice(0, 12));
  return [project, what, branch && `(${branch})`].filter(Boolean).join(" ");
}
