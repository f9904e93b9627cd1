/** Files of builds that have users of their own: what this process has no right to, the helper does. */

interface OtherUsers {
  /** Makes all of a folder this process's user's. */
  own(path: string): Promise<void>;
  measure(path: string): Promise<{ bytes: number; inodes: number }>;
}

let others: OtherUsers | undefined;

/** @param helper undefined: this process has the rights, or there are no other users */
export function helpWithOthers(helper: OtherUsers | undefined): void {
  others = helper;
}

export function otherUsers(): OtherUsers | undefined {
  return others;
}
