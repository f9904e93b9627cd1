/** The configuration as the rest of the program sees it: defaults filled in, units resolved. */
import type { BuildsConfig } from "./sections/builds.ts";
import type { DeviceConfig } from "./sections/device.ts";
import type { HostConfig } from "./sections/host.ts";
import type { HttpConfig } from "./sections/http.ts";
import type { InputsConfig, RemoteConfig } from "./sections/inputs.ts";
import type { JobConfig } from "./sections/job.ts";
import type { LinksConfig } from "./sections/links.ts";
import type { ServerConfig } from "./sections/servers.ts";

export type { BuildsConfig } from "./sections/builds.ts";
export type { ConsoleKind, DeviceConfig } from "./sections/device.ts";
export type { Answer, VerdictConfig } from "./sections/firmware.ts";
export type { HttpAuth } from "./sections/http.ts";
export type { InputConfig, InputsConfig } from "./sections/inputs.ts";
export type { JobConfig, JobWork } from "./sections/job.ts";
export type { LinksConfig } from "./sections/links.ts";
export type { PortAddress, PortConfig, PortMatch } from "./sections/port.ts";
export type { FlashStep, RecoverStep } from "./sections/recover.ts";
export type { ServerConfig, TlsConfig } from "./sections/servers.ts";
export type { FileTransfer, StepConfig } from "./sections/steps.ts";

export interface Config {
  /** The files it was read from, in this order. */
  readonly files: readonly string[];
  /** The manager's name, and the host's as a node. */
  readonly name: string;
  /** Empty: the embedded server. */
  readonly servers: readonly ServerConfig[];
  readonly http: HttpConfig;
  readonly host: HostConfig;
  readonly builds: BuildsConfig;
  readonly inputs: InputsConfig;
  readonly remote: RemoteConfig;
  readonly links: LinksConfig;
  readonly jobs: ReadonlyMap<string, JobConfig>;
  readonly devices: ReadonlyMap<string, DeviceConfig>;
  /** How long the history of a board is kept. */
  readonly historyMs: number;
  /** How long the first SIGTERM waits for running builds. */
  readonly stopTimeoutMs: number;
  /** How long leases go on after a drain has begun. */
  readonly drainLeasesMs: number;
  /** How long a build goes on after its job server was lost. */
  readonly orphanTimeoutMs: number;
  /** The result string for infrastructure failures; undefined: none is sent, and Zuul runs the build again. */
  readonly infrastructureResult?: string;
}
