/** A build that leaves a board unable to pass its probe: what brings the board back, and who may use it meanwhile. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import type { DeviceConfig } from "#/config/model.ts";
import type { Health } from "#/devices/health.ts";
import { startLab } from "../runners/board/lab.ts";
import { temporaryFolder } from "../support/servers.ts";

const signal = AbortSignal.timeout(60_000);

/** A U-Boot that answers until a bad image is on the board; then it is silent. */
async function startBoard(config: Partial<DeviceConfig>, health?: Health, kept: Health[] = []) {
  const done: string[] = [];
  let isGood = true;
  const board = (socket: Socket) => {
    let line = "";
    socket.setEncoding("latin1").on("data", (typed: string) => {
      if (!isGood) return;
      for (const char of typed) {
        if (char >= " ") line += char;
        if (char >= " ") socket.write(char);
        if (char === "\x03") line = "";
        if (char === "\x03" || char === "\r" || char === "\n") {
          const said = /^echo (.*)$/.exec(line)?.[1];
          socket.write(
            `\r\n${said === undefined ? "" : `${said.replaceAll("''", "").replaceAll("$?", "0")}\r\n`}=> `,
          );
          line = "";
        }
      }
    });
  };
  const lab = await startLab({
    config: {
      console: "u-boot",
      bootTimeoutMs: 1000,
      power: { on: "on", off: "off", timeoutMs: 5000 },
      ...config,
    },
    board,
    ...(health && { health }),
    saveHealth: (saved) => kept.push(saved),
    command: async (script, _, variables) => {
      if (script === "on") done.push("power");
      if (script === "bad flash") return { code: 1, output: "no probe\n" };
      if (script === "flash") {
        done.push(`flash ${variables?.LABGEAR_DEVICE}`);
        isGood = true;
      }
      return { code: 0, output: "" };
    },
  });
  return {
    lab,
    done,
    /** A build that flashes a bad image. */
    async spoil(): Promise<void> {
      done.length = 0;
      using reservation = await lab.device.reserve("bad#1", { name: "bad" }, signal);
      isGood = false;
      reservation.release({ kind: "doubtful", reason: "panic" });
    },
  };
}

const recover = [{ kind: "power" }, { kind: "flash", script: "flash", lend: true, timeoutMs: 5000 }] as const;

test("recover: one step after the other until the probe passes, and none of it counts", async () => {
  const { lab, done, spoil } = await startBoard({ recover, health: { job: "health" }, quarantineAfter: 1 });
  await using _ = lab;
  await spoil();
  await lab.becomes("recovering");
  await lab.becomes("ready");
  // The first is the restart after each build.
  assert.deepEqual(done, ["power", "power", "flash mcu-1"]);
  assert.equal(lab.device.health.failures, 0);
});

test("failed probes count, so that the health job comes", async () => {
  const { lab, spoil } = await startBoard({ health: { job: "health" }, quarantineAfter: 2 });
  await using _ = lab;
  await spoil();
  await lab.becomes("quarantined");
  assert.equal(lab.device.standing, "health");
  assert.match(lab.device.health.quarantine ?? "", /2 infrastructure failures in a row/);
});

test("without a health job it is tried again, and a job with needs: power may have it meanwhile", async () => {
  const { lab, spoil } = await startBoard({ quarantineAfter: 1 });
  await using _ = lab;
  await spoil();
  await lab.becomes("recovering");
  assert.equal(lab.device.standing, "unproved");
  using reservation = await lab.device.reserve("boot#1", { name: "boot", needs: "power" }, signal);
  assert.equal(lab.device.health.quarantine, undefined);
  reservation.release({ kind: "well", passed: true });
});

test("restore: a known image before a build of another trust, also after a restart; what a person did doesn't count", async () => {
  const restore = { kind: "flash", script: "flash", lend: true, timeoutMs: 30_000 } as const;
  const kept: Health[] = [];
  const run = async (lab: Awaited<ReturnType<typeof startBoard>>["lab"], trust?: "changes" | "lab") => {
    const job = trust && { name: "job", trust };
    using reservation = await lab.device.reserve("job#1", job, signal);
    reservation.release({ kind: "well", passed: true });
  };
  {
    const { lab, done } = await startBoard({ restore }, undefined, kept);
    await using _ = lab;
    done.length = 0;
    const flashes = async (trust?: "changes" | "lab") => {
      await run(lab, trust);
      return done.splice(0).filter((what) => what.startsWith("flash")).length;
    };
    const counts = [];
    for (const trust of ["lab", "lab", "changes", "changes", "lab", "changes"] as const)
      counts.push(await flashes(trust));
    assert.deepEqual(counts, [0, 0, 1, 0, 1, 1]);
    assert.equal(kept.at(-1)?.trust, "changes");
  }
  const { lab, done } = await startBoard({ restore }, kept.at(-1), kept);
  await using _ = lab;
  await run(lab, "lab");
  assert.ok(done.includes("flash mcu-1"), `${done}`);
});

test("restore: an image that can't be flashed is the box's fault, and the board stays with whose it was", async () => {
  const restore = { kind: "flash", script: "bad flash", lend: false, timeoutMs: 30_000 } as const;
  const { lab } = await startBoard({ restore }, { failures: 0, trust: "changes" });
  await using _ = lab;
  const what = { reason: "flash-failed", message: /no probe/ };
  await assert.rejects(lab.device.reserve("job#1", { name: "job", trust: "lab" }, signal), what);
  assert.deepEqual([lab.device.health.failures, lab.device.health.trust], [1, "changes"]);
});

test("a refused login isn't tried again and again: that locks accounts", async () => {
  let names = 0;
  const board = (socket: Socket) => {
    let line = "";
    let isName = true;
    const ask = () => socket.write(isName ? "board login: " : "Password: ");
    socket.setEncoding("latin1").on("data", (typed: string) => {
      for (const char of typed) {
        if (char >= " ") line += char;
        if (char !== "\n") continue;
        socket.write(`${isName ? line : ""}\r\n`);
        if (isName && line !== "") names += 1;
        if (!isName) socket.write("\r\nLogin incorrect\r\n");
        isName = !isName || line === "";
        line = "";
        ask();
      }
    });
  };
  await using folder = await temporaryFolder();
  const passwordFile = join(folder.path, "password");
  await writeFile(passwordFile, "other");
  const login = { user: "root", passwordFile };
  const config = { console: "linux", login, bootTimeoutMs: 60_000 } as const;
  await using lab = await startLab({ config, board }, "recovering");
  const { state } = lab.device;
  const why = /login-refused: .*"Login incorrect"; check user and password; the next attempt is in 300 s/;
  assert.match("reason" in state ? state.reason : "", why);
  assert.equal(names, 1);
});
