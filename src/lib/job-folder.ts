/** Folders named after jobs and their builds: the job's name, but for slashes. */

/** @returns one part of a path; a name without slashes stays as it is */
export function jobFolder(name: string): string {
  // A percent sign is escaped only where it would read as an escape, so that no two names share a folder.
  return name.replaceAll(/%(?=2F|25)/g, "%25").replaceAll("/", "%2F");
}

/** @returns one part of a path, for what each build has beside those of other jobs */
export function buildFolder({ job, number }: { readonly job: string; readonly number: number }): string {
  return `${jobFolder(job)}.${number}`;
}

/** The job whose folder it is. */
export function jobOfFolder(folder: string): string {
  return folder.replaceAll(/%(2F|25)/g, (_, code) => (code === "2F" ? "/" : "%"));
}
