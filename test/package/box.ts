/** A whole Linux with its own systemd, in a container on this machine, to install packages in. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { execa } from "execa";

const roots = new URL("../.out/roots", import.meta.url).pathname;
/** How long any one thing may take, in milliseconds: a bound against hanging. */
const patience = 180_000;

/** The releases that are tried, and where they come from. */
export const releases = {
  bookworm: "deb http://deb.debian.org/debian bookworm main",
  trixie: "deb http://deb.debian.org/debian trixie main",
  // Debian has no keyring for it, and nothing of the root is kept.
  noble: "deb [trusted=yes] http://archive.ubuntu.com/ubuntu noble main",
} as const;

export type Release = keyof typeof releases;

/** Where control groups are: of version 2, or of version 1 with systemd's own of either version. */
const controlGroups = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"];

/** What the package wants of a bare system, and git for builds. */
const include = "systemd,systemd-sysv,udev,libatomic1,libstdc++6,passwd,git,man-db,util-linux";
/** What a desktop or a server has besides: the ways by which a user starts things that outlive a session. */
const sessions = "dbus,polkitd,libpam-systemd,cron,at,openssh-server,python3,curl,keyutils,iproute2";

export type Kind = "bare" | "sessions";

/** Makes a release's root, once; a box lays its own changes over it. */
async function makeRoot(release: Release, kind: Kind): Promise<string> {
  const root = join(roots, kind === "bare" ? release : `${release}-${kind}`);
  if (existsSync(root)) return root;
  mkdirSync(roots, { recursive: true });
  const fresh = `${root}.${process.pid}`;
  const packages = kind === "bare" ? include : `${include},${sessions}`;
  const args = ["--variant=apt", `--include=${packages}`, release, fresh, releases[release]];
  await execa("mmdebstrap", args, { timeout: patience * 2 });
  // Two tests may have made it at the same time.
  await execa("mv", ["--no-target-directory", fresh, root], { reject: false });
  rmSync(fresh, { recursive: true, force: true });
  return root;
}

export class Box implements AsyncDisposable {
  readonly #folder: string;
  readonly #container: ChildProcess;
  readonly #over = new AbortController();
  #init = 0;

  /** Whatever becomes of us, the container dies with us, and the mount with it. */
  private constructor(lower: string) {
    this.#folder = mkdtempSync(join(tmpdir(), "labgear-box-"));
    for (const name of ["root", "upper", "work"]) mkdirSync(join(this.#folder, name));
    // In one control group, the systemds of boxes that run at the same time would take each other's services for their own.
    const program = `for groups in ${controlGroups.join(" ")}; do
        [ -e $groups/cgroup.procs ] && mkdir "$groups/$2" && echo $$ >"$groups/$2/cgroup.procs" || :
      done
      mount -t overlay labgear-box -o "lowerdir=$1,upperdir=upper,workdir=work" root
      exec systemd-nspawn --register=no --keep-unit --private-network --system-call-filter=bpf --console=pipe --quiet --machine="$2" --boot --directory=root`;
    const args = [
      "--mount",
      "--propagation=private",
      "sh",
      "-euc",
      program,
      "sh",
      lower,
      basename(this.#folder),
    ];
    this.#container = spawn("setpriv", ["--pdeathsig=KILL", "unshare", ...args], {
      cwd: this.#folder,
      stdio: "ignore",
      env: { PATH: process.env.PATH, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: "1" },
    });
  }

  /** Boots a box; resolves when everything in it is up. */
  static async boot(release: Release, kind: Kind = "bare"): Promise<Box> {
    const box = new Box(await makeRoot(release, kind));
    try {
      await box.#findInit();
      await box.sh("timeout 120 systemctl is-system-running --wait");
      return box;
    } catch (error) {
      await box[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Its root folder as this machine sees it. */
  get root(): string {
    return `/proc/${this.#init}/root`;
  }

  /** Nobody tells when the container's first process is there, and when its systemd listens. */
  async #findInit(): Promise<void> {
    const { pid } = this.#container;
    const own = readlinkSync("/proc/self/ns/pid");
    for (const until = performance.now() + patience; performance.now() < until; await delay(100)) {
      if (this.#container.exitCode !== null) throw new Error("systemd-nspawn has ended: can it run here?");
      try {
        const child = Number.parseInt(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8"), 10);
        if (!(child > 0) || readlinkSync(`/proc/${child}/ns/pid`) === own) continue;
        this.#init = child;
        if (existsSync(`${this.root}/run/systemd/private`)) return;
      } catch {
        // It has ended meanwhile: not the one.
      }
    }
    throw new Error("the container doesn't boot");
  }

  /** Starts a shell script in the box, as root. */
  start(script: string) {
    const enter = ["--target", String(this.#init), "--all", "--", "/bin/sh", "-euc", script];
    return execa("nsenter", enter, {
      all: true,
      reject: false,
      stdin: "ignore",
      timeout: patience,
      cancelSignal: this.#over.signal,
      extendEnv: false,
      env: {
        PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
        LC_ALL: "C.UTF-8",
        DEBIAN_FRONTEND: "noninteractive",
        HOME: "/root",
      },
    });
  }

  /**
   * Runs a shell script in the box, as root.
   * @returns all that it printed
   * @throws when it fails, with what it printed
   */
  async sh(script: string): Promise<string> {
    const { exitCode, all, timedOut } = await this.start(script);
    if (exitCode === 0) return all;
    throw new Error(`${script}\nended with ${timedOut ? "a time-out" : exitCode}:\n${all}`);
  }

  /** Writes a file in the box. */
  write(path: string, text: string): void {
    mkdirSync(dirname(join(this.root, path)), { recursive: true });
    writeFileSync(join(this.root, path), text);
  }

  /** Installs a package with dpkg, which asks nothing and keeps configuration that was changed. */
  async install(file: string): Promise<string> {
    const name = basename(file);
    copyFileSync(file, join(this.root, "root", name));
    return await this.sh(`dpkg --force-confdef --force-confold --install /root/${name}; rm /root/${name}`);
  }

  /** Resolves when it has gone down. */
  async down(): Promise<void> {
    if (this.#container.exitCode !== null) return;
    await once(this.#container, "exit", { signal: AbortSignal.timeout(patience) });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#container.exitCode === null && this.#init > 0) await this.start("systemctl poweroff --force");
    this.#over.abort();
    const gone =
      this.#container.exitCode ?? once(this.#container, "exit", { signal: AbortSignal.timeout(30_000) });
    await Promise.resolve(gone).catch(() => this.#container.kill("SIGKILL"));
    for (const root of controlGroups) {
      const group = join(root, basename(this.#folder));
      if (existsSync(group))
        await execa("find", [group, "-depth", "-type", "d", "-delete"], { reject: false });
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
