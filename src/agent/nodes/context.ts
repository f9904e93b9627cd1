/** What every executor and the manager work with; handed in by the agent. */
import type { BuildStore } from "#/builds/store.ts";
import type { Config } from "#/config/model.ts";
import type { Log } from "#/lib/log.ts";
import type { ProcessTrees } from "#/runners/trees/trees.ts";
import type { Reports } from "./reports.ts";

export interface NodeContext {
  /** The configuration in force; a running build keeps what it started with. */
  readonly config: () => Config;
  readonly store: BuildStore;
  readonly reports: Reports;
  readonly stateDir: string;
  readonly trees: ProcessTrees;
  readonly log: Log;
  /**
   * Tries what every build needs: better it fails here than somewhere on its way.
   * @throws the system's error
   */
  readonly tryBox: () => Promise<void>;
  /** The line for an error that means that the box itself can't go on; undefined for any other. */
  readonly troubleOf: (error: unknown) => string | undefined;
  /** Is told in a line what keeps all builds from running: the node takes none until that is over. */
  readonly onTrouble: (reason: string) => void;
}
