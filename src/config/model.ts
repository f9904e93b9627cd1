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

/** How a console is spoken with. */
export type ConsoleKind = "linux" | "u-boot" | "micropython" | "raw";

/** What a tty must be to be the device's: each one given has to fit. */
export interface PortMatch {
  /** Of a device file, or of a link to one. */
  readonly path?: string;
  /** A name in /dev/serial/by-id. */
  readonly byId?: string;
  /** Hexadecimal VENDOR:PRODUCT of the USB device, in lower case. */
  readonly usb?: string;
  /** The USB device's serial number. */
  readonly serial?: string;
  /** The USB device's place, as sysfs names it: 1-1.4. */
  readonly location?: string;
  /** Which of the USB device's interfaces, from 0: adapters with several ports have one serial number. */
  readonly interface?: number;
}

export type PortAddress =
  | { readonly kind: "tty"; readonly match: PortMatch }
  /** A console server; `rfc2217` is telnet with speed and control lines, `tcp` the bytes alone. */
  | { readonly kind: "tcp" | "rfc2217"; readonly host: string; readonly port: number };

export interface PortConfig {
  readonly address: PortAddress;
  /** Bits per second. */
  readonly baud: number;
  readonly flow: "none" | "rtscts" | "xonxoff";
}

export interface DeviceConfig {
  readonly name: string;
  readonly classes: readonly string[];
  readonly port: PortConfig;
  readonly console: ConsoleKind;
  readonly login?: { readonly user: string; readonly passwordFile?: string };
  /** The console's own prompt, when it isn't the usual one: u-boot's, or the one before ours on linux. */
  readonly prompt?: string;
  /** What stops u-boot's autoboot; default: a space. */
  readonly autobootKey?: string;
  /** Commands on the host. */
  readonly power: { readonly on?: string; readonly off?: string; readonly cycle?: string };
  /** The control line that resets the board. */
  readonly reset?: "dtr" | "rts";
  readonly health: {
    /** A command on the board's console. */
    readonly probe?: string;
    /** A pattern that its output must have. */
    readonly expect?: string;
    /** A job whose success ends a quarantine. */
    readonly job?: string;
  };
  /** After how many infrastructure failures in a row it is quarantined. */
  readonly quarantineAfter: number;
  /** Milliseconds from power or reset to the prompt. */
  readonly bootTimeout: number;
}

/** What a step does. */
export type StepAction =
  /** Text for the console; `enter`: followed by a line end. */
  | { readonly kind: "send"; readonly text: string; readonly enter: boolean }
  /** Waits until the console's output matches; a match of `fail` fails the step at once. */
  | { readonly kind: "expect"; readonly pattern: string; readonly fail?: string; readonly timeout: number }
  /** A command on the console, which must end with exit code 0. */
  | { readonly kind: "run"; readonly command: string; readonly timeout: number }
  /** To the console's prompt again, as after a reboot. */
  | { readonly kind: "login"; readonly timeout: number }
  | { readonly kind: "sleep"; readonly milliseconds: number }
  | { readonly kind: "control"; readonly line: "dtr" | "rts"; readonly value: boolean }
  | { readonly kind: "break"; readonly milliseconds: number }
  | { readonly kind: "power"; readonly action: "on" | "off" | "cycle" }
  | { readonly kind: "reset" }
  /** A shell script on the host, in the workspace. */
  | { readonly kind: "host"; readonly script: string }
  /** A file of the workspace to the board, or of the board to the workspace. */
  | { readonly kind: "put" | "get"; readonly from: string; readonly to: string };

/** One step of a `steps` job. */
export type StepConfig = StepAction & { readonly name?: string };

/** How the console's output says whether the firmware passed. */
export type VerdictConfig =
  | { readonly kind: "zephyr" | "unity" | "tap" }
  | { readonly kind: "patterns"; readonly pass: string; readonly fail?: string };

export interface FileTransfer {
  readonly from: string;
  readonly to: string;
}

/** What a job does. */
export type JobWork =
  /** A shell script on the host; with a device, the device is its own meanwhile. */
  | { readonly kind: "run"; readonly script: string }
  /** A script on the board, with files before and after. */
  | {
      readonly kind: "shell";
      readonly script: string;
      readonly put: readonly FileTransfer[];
      readonly get: readonly FileTransfer[];
    }
  | { readonly kind: "steps"; readonly steps: readonly StepConfig[] }
  | {
      readonly kind: "firmware";
      /** A host script that makes the image: its failure is the job's. */
      readonly build?: string;
      /** A host script that flashes: its failure is the board's. */
      readonly flash: string;
      readonly verdict: VerdictConfig;
      /** Milliseconds from the flash's end to the verdict. */
      readonly timeout: number;
      /** Text that the new image prints, such as Zephyr's RunID; what comes before it is the last image's. */
      readonly start?: string;
      /** Hands the port over to the flash command, and takes it back after it. */
      readonly lend: boolean;
    };

export interface JobConfig {
  readonly name: string;
  /** Classes or names of nodes that may run it; undefined: every class of the host. */
  readonly nodes?: readonly string[];
  readonly work: JobWork;
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

export type HttpAuth =
  | { readonly kind: "basic"; readonly user: string; readonly passwordFile: string }
  | { readonly kind: "token"; readonly tokenFile: string };

export interface Config {
  /** The files it was read from, in their order. */
  readonly files: readonly string[];
  /** The manager's name. */
  readonly name: string;
  /** Empty: the embedded server. */
  readonly servers: readonly ServerConfig[];
  readonly http: {
    readonly host: string;
    readonly port: number;
    readonly url: string;
    /** Who may look; undefined: everybody. */
    readonly auth?: HttpAuth;
  };
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
  readonly devices: ReadonlyMap<string, DeviceConfig>;
  /** Milliseconds that a first SIGTERM waits for running builds. */
  readonly stopTimeout: number;
  /** Milliseconds that a build whose job server was lost waits to be asked for again before it is stopped. */
  readonly orphanTimeout: number;
  /** The result string sent for infrastructure endings; undefined: none, so that Zuul runs the build again. */
  readonly infrastructureResult?: string;
}
