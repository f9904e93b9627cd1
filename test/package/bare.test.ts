/** The executable alone, as a step of a CI job has it: a root folder with nothing else in it, and a route to the job server. */
import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { execa } from "execa";
import {
  checkBrought,
  type FirmwareLab,
  firmware,
  lacksFirmwareLab,
  lacksGearmand2,
  perlRefusal,
  type ServerKind,
  startFirmwareLab,
} from "../support/firmware-lab.ts";
import { lacksPrograms, making, products } from "./products.ts";

const skip = lacksFirmwareLab() || lacksPrograms("unshare", "dh", "aarch64-linux-gnu-strip");

describe("a bare root with the executable only", { skip, timeout: making * 2 }, () => {
  const resources = new AsyncDisposableStack();
  let lab: FirmwareLab;
  let root = "";

  before(
    async () => {
      const { dist } = await products();
      lab = resources.use(await startFirmwareLab());
      root = join(lab.folder, "root");
      const program = join(dist, "labgear-linux-x64");
      // What the loader finds for it, and nothing else.
      const { stdout } = await execa("ldd", [program]);
      for (const [, library = ""] of stdout.matchAll(/(\/\S+) \(0x/g)) install(library, library);
      install(program, "/usr/bin/labgear");
      mkdirSync(join(root, "proc"));
      for (const [name, file] of Object.entries(lab.certificate)) install(file, `/tls/${name}`);
    },
    { timeout: making },
  );
  after(() => resources.disposeAsync());

  function install(file: string, name: string): void {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    copyFileSync(file, join(root, name));
  }

  function build(kind: ServerKind, elf: string) {
    const folder = `/home/${kind}`;
    install(firmware(elf), `${folder}/zephyr.elf`);
    const enter = ["--mount", "--pid", "--fork", "--mount-proc", `--root=${root}`, `--wd=${folder}`];
    const command =
      "build firmware-smoke --node cortex-m3 --file app=zephyr.elf --fetch out --junit out/junit.xml";
    const tls =
      kind === "tls" ? Object.keys(lab.certificate).flatMap((name) => [`--tls-${name}`, `/tls/${name}`]) : [];
    return execa("unshare", [...enter, "/usr/bin/labgear", ...command.split(" "), ...tls], {
      env: { LABGEAR_SERVER: `127.0.0.1:${lab.ports[kind]}` },
      ...{ extendEnv: false, reject: false, stripFinalNewline: false, stdin: "ignore", timeout: 120_000 },
    });
  }

  for (const [kind, elf, code] of [
    ["gearmand", "ztest-pass", 0],
    ["gearmand2", "ztest-pass", 0],
    ["embedded", "ztest-fail", 1],
    ["tls", "ztest-pass", 0],
  ] as const) {
    test(`through ${kind}: ${elf}`, { skip: kind === "gearmand2" && lacksGearmand2 }, async () => {
      const { exitCode, stderr, stdout } = await build(kind, elf);
      assert.equal(exitCode, code, stderr);
      const out = join(root, "home", kind, "out");
      await checkBrought(out, join(out, "junit.xml"), elf, stdout);
      assert.deepEqual(readdirSync(join(root, "home", kind)).sort(), ["out", "zephyr.elf"]);
    });
  }

  test("the Perl server passes no data on: one line", async () => {
    const { exitCode, stderr } = await build("perl", "silent");
    assert.equal(exitCode, 2);
    assert.match(stderr, perlRefusal);
  });
});
