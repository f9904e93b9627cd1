/** The products themselves: what is in them, what Debian's and systemd's own checkers say, their size, and the other processor. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, globSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { execa } from "execa";
import { makeProducts } from "../../packaging/make.ts";
import { testFolder } from "../support/folders.ts";
import { lacksPrograms, making, type Products, products, version } from "./products.ts";

const lack = lacksPrograms("dh", "lintian", "aarch64-linux-gnu-strip", "qemu-aarch64-static", "man");

describe("the products", { skip: lack, timeout: making * 2 }, () => {
  let made: Products;
  const folder = testFolder();
  const unpacked = join(folder.path, "unpacked");
  before(
    async () => {
      made = await products();
      await execa("dpkg-deb", ["-x", join(made.dist, `labgear_${version}_amd64.deb`), unpacked]);
    },
    { timeout: making },
  );
  after(() => folder[Symbol.dispose]());

  test("all of them are there, with their checksums, and not too large", async () => {
    const names = [
      "labgear-linux-x64",
      "labgear-linux-arm64",
      `labgear_${version}_amd64.deb`,
      `labgear_${version}_arm64.deb`,
      `labgear-${version}.tgz`,
    ];
    await execa("sha256sum", ["--check", "--strict", "SHA256SUMS"], { cwd: made.dist });
    assert.deepEqual(
      readFileSync(join(made.dist, "SHA256SUMS"), "utf8")
        .trim()
        .split("\n")
        .map((line) => line.split("  ")[1])
        .sort(),
      names.sort(),
    );
    for (const name of names) {
      const most = name.endsWith(".deb") ? 32e6 : 124e6;
      assert.ok(statSync(join(made.dist, name)).size <= most, name);
    }
  });

  test("lintian has nothing to say", { timeout: making }, async () => {
    const files = globSync(join(made.dist, "*.deb"));
    assert.equal(files.length, 2);
    const { all } = await execa("lintian", ["--pedantic", "--allow-root", ...files], {
      all: true,
      reject: false,
    });
    assert.doesNotMatch(all, /^[EWP]:/m);
  });

  test("the unit is good, and lets in as little as it says", async () => {
    const unit = join(folder.path, "labgear.service");
    const text = readFileSync(join(unpacked, "usr/lib/systemd/system/labgear.service"), "utf8");
    // The program that they start isn't installed here.
    const names = [
      "labgear.service",
      "labgear-helper.service",
      "labgear-debug.service",
      "labgear-gate.service",
    ];
    for (const name of [...names, "labgear-helper.socket", "labgear-debug.socket"]) {
      const own = readFileSync(join(unpacked, "usr/lib/systemd/system", name), "utf8");
      writeFileSync(join(folder.path, name), own.replaceAll("/usr/bin/labgear", "/bin/true"));
    }
    const verified = await execa("systemd-analyze", ["verify", "--man=no", unit], { all: true });
    assert.equal(verified.all, "");
    await execa("systemd-analyze", ["security", "--offline=true", "--threshold=30", unit]);
    const left = [
      "PrivateDevices",
      "ProtectControlGroups",
      "MemoryDenyWriteExecute",
      "ProtectProc",
      "PrivateUsers",
    ];
    for (const directive of left) {
      assert.doesNotMatch(text, new RegExp(`^${directive}=`, "m"));
      assert.match(text, new RegExp(`^# +.*${directive}=`, "m"), "left out with a reason");
    }
  });

  test("manual pages without a complaint, for every command and every option of the configuration", async () => {
    for (const page of ["man1/labgear.1.gz", "man5/labgear.yaml.5.gz", "man5/labgear-gate.yaml.5.gz"]) {
      const file = join(unpacked, "usr/share/man", page);
      const { stderr, stdout } = await execa(
        "man",
        ["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", file],
        {
          env: { MANROFFSEQ: "", MANWIDTH: "80", LC_ALL: "C.UTF-8" },
        },
      );
      assert.equal(stderr, "");
      assert.ok(stdout.length > 1000);
    }
    const program = join(unpacked, "usr/bin/labgear");
    const overview = await execa(program, ["--help"]);
    const commands = [...overview.stdout.matchAll(/^ {2}([a-z]+) {2}/gm)].map(([, name]) => name ?? "");
    assert.ok(commands.length > 15);
    const page = (await execa(program, ["manual"])).stdout;
    for (const command of commands) assert.match(page, new RegExp(`^\\.SS labgear ${command} `, "m"));
    const format = (await execa(program, ["manual", "labgear.yaml"])).stdout;
    for (const key of ["min\\\\-free", "password\\\\-file", "artifacts", "power"])
      assert.match(format, new RegExp(`^\\.B ${key}$`, "m"));
  });

  test("completions that shells take", async () => {
    const file = join(unpacked, "usr/share/bash-completion/completions/labgear");
    const complete = async (line: string) => {
      const script = `. ${file}; COMP_WORDS=(${line}); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _labgear; echo "\${COMPREPLY[*]}"`;
      return (await execa("bash", ["-c", script])).stdout.split(" ");
    };
    assert.deepEqual(await complete("labgear doc"), ["doctor"]);
    assert.ok((await complete("labgear build --")).includes("--node"));
    assert.deepEqual(await complete("labgear agent --log-level w"), ["warn"]);
  });

  test("what is inside is listed, and whose it is", () => {
    const name = join(unpacked, "usr/share/doc/labgear/copyright");
    const copyright = readFileSync(name, "utf8");
    for (const one of ["node", "commander", "execa", "pino", "@serialport/bindings-cpp"]) {
      assert.match(copyright, new RegExp(`^Files: ${one}$`, "m"));
    }
    const licences = new Set([...copyright.matchAll(/^License: (\S+)$/gm)].map(([, short]) => short));
    for (const [, short] of copyright.matchAll(/^Copyright:[\s\S]*?\nLicense: (\S+)$/gm))
      assert.ok(licences.has(short));
    assert.doesNotMatch(copyright, /^ undefined$/m);
  });

  test("the executable alone: no HOME, no folder that isn't noexec, NODE_OPTIONS of no effect", async () => {
    const program = join(made.dist, "labgear-linux-x64");
    const bare = join(folder.path, "bare");
    mkdirSync(bare);
    await execa("mount", ["-t", "tmpfs", "-o", "noexec", "labgear-test", bare]);
    try {
      const env = { TMPDIR: bare, NODE_OPTIONS: "--no-such-option" };
      const options = { env, extendEnv: false, cwd: bare, reject: false, timeout: 60_000 } as const;
      assert.equal((await execa(program, ["--version"], options)).stdout, `labgear ${version}`);
      const doctor = await execa(program, ["doctor", "--json"], options);
      const addon = JSON.parse(doctor.stdout).find(({ about }: { about: string }) => about === "addon");
      assert.deepEqual(
        [addon.state, addon.text],
        ["good", "the addon for serial ports is loaded from memory"],
      );
      const demo = await execa(program, ["demo", "--once"], options);
      assert.equal(demo.exitCode, 0, demo.stderr);
      const setup = ["setup", "--no-start", "--yes", "--config", join(bare, "labgear.yaml")];
      assert.equal((await execa(program, setup, options)).exitCode, 0);
    } finally {
      await execa("umount", ["--lazy", bare]);
    }
  });

  test("twice the same sources give the same bytes", { timeout: making }, async () => {
    const sums: string[][] = [];
    for (const run of ["first", "second"]) {
      const dist = join(folder.path, run);
      await makeProducts({
        dist,
        version,
        architectures: ["x64", "arm64"],
        codeCache: false,
        compression: "none",
        epoch: 1e9,
      });
      sums.push(
        globSync("*", { cwd: dist })
          .sort()
          .map((name) => `${name} ${sha256(join(dist, name))}`),
      );
      rmSync(dist, { recursive: true });
    }
    assert.deepEqual(sums[0], sums[1]);
    assert.equal(sums[0]?.length, 5);
  });

  test("the arm64 executable: version, doctor, demo --once", { timeout: making }, async () => {
    const libraries = await arm64Libraries();
    const program = ["-L", libraries, join(made.dist, "labgear-linux-arm64")];
    const run = (...args: string[]) =>
      execa("qemu-aarch64-static", [...program, ...args], {
        reject: false,
        cwd: folder.path,
        timeout: 300_000,
      });
    assert.equal((await run("--version")).stdout, `labgear ${version}`);
    const doctor = await run("doctor", "--json");
    const findings = JSON.parse(`${doctor.stdout}`) as { about: string; state: string; text: string }[];
    const addon = findings.find(({ about }) => about === "addon");
    assert.equal(addon?.state, "good", `${addon?.text}`);
    const demo = await run("demo", "--once");
    assert.equal(demo.exitCode, 0, `${demo.stdout}\n${demo.stderr}`);
    assert.match(demo.stdout, /SUCCESS/);
  });
});

/** The libraries that Node needs, for arm64: unpacked, nothing is installed. */
async function arm64Libraries(): Promise<string> {
  const root = new URL("../.out/roots/arm64", import.meta.url).pathname;
  if (existsSync(root)) return root;
  const options = [
    "--variant=extract",
    "--architectures=arm64",
    "--skip=check/qemu",
    "--include=libatomic1,libstdc++6,libc6",
  ];
  const fresh = `${root}.${process.pid}`;
  await execa("mmdebstrap", [
    ...options,
    "bookworm",
    fresh,
    "deb http://deb.debian.org/debian bookworm main",
  ]);
  await execa("mv", ["--no-target-directory", fresh, root]);
  return root;
}

function sha256(file: string): string {
  return createHash("sha256").update(readFileSync(file)).digest("hex");
}
