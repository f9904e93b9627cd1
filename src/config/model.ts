/** The configuration as the rest of the program sees it: defaults filled in, units resolved. */

/** TLS towards a job server. The files' paths, made absolute against the file that names them. */
export interface TlsConfig {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

export interface ServerConfig {
  readonly host: string;
  readonly port: number;
  readonly tls?: TlsConfig;
}

export interface LimitsConfig {
  /** Bytes. */
  readonly memory?: number;
  readonly processes?: number;
  /** Share of one processor: 2 is two whole ones. */
  readonly cpu?: number;
}

export interface JobConfig {
  readonly name: string;
  /** Classes or names of nodes that may run it; undefined: every class of the host. */
  readonly nodes?: readonly string[];
  /** The host shell script. */
  readonly run: string;
  readonly checkout: boolean;
  /** Milliseconds. */
  readonly timeout: number;
  /** Milliseconds between SIGTERM and the kill. */
  readonly grace: number;
  /** Globs inside the workspace. */
  readonly artifacts: readonly string[];
  readonly junit: readonly string[];
  readonly limits: LimitsConfig;
  /** Names of parameters that become environment variables besides the standard ones. */
  readonly parameters: readonly string[];
}

export interface Config {
  /** The files it was read from, in their order. */
  readonly files: readonly string[];
  /** The manager's name. */
  readonly name: string;
  /** Empty: the embedded server. */
  readonly servers: readonly ServerConfig[];
  readonly http: { readonly host: string; readonly port: number; readonly url: string };
  readonly host: { readonly classes: readonly string[]; readonly executors: number };
  readonly builds: {
    /** How many builds of a job are kept. */
    readonly keep: number;
    readonly keepDays: number;
    /** Bytes. */
    readonly minFree: number;
    /** Bytes. */
    readonly maxConsole: number;
  };
  readonly jobs: ReadonlyMap<string, JobConfig>;
  /** Milliseconds that a first SIGTERM waits for running builds. */
  readonly stopTimeout: number;
  /** Milliseconds that a build whose job server was lost waits to be asked for again before it is stopped. */
  readonly orphanTimeout: number;
  /** The result string sent for infrastructure endings; undefined: none, so that Zuul runs the build again. */
  readonly infrastructureResult?: string;
}
