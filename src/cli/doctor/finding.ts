/** What the doctor finds. */
export interface Finding {
  readonly about:
    | "configuration"
    | "agent"
    | "board"
    | "unit"
    | "job server"
    | "users"
    | "leftovers"
    | "ports"
    | "addon"
    | "cgroup"
    | "disk"
    | "helper"
    | "clock";
  readonly state: "good" | "warning" | "bad";
  readonly text: string;
  /** What to do about it. */
  readonly advice?: string;
}
