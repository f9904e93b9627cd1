/** A build that leaves a board unable to pass its probe: what brings the board back, and who may use it meanwhile. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { DeviceConfig } from "#/config/model.ts";
import type { Health } from "#/devices/health.ts";
import { startLab } from "../runners/board/lab.ts";
import { temporaryFolder } from "../support/servers.ts";

const signal = AbortSignal.timeout(600_000);

/** @returns what takes the text that is typed */
function uboot(socket: Socket): (typed: string) => void {
  let line = "";
  return (typed) => {
    for (const char of typed) {
      if (char >= " ") line += char;
      if (char >= " ") socket.write(char);
      if (char === "\x03") line = "";
      if (char !== "\x03" && char !== "\r" && char !== "\n") continue;
      const said = /^echo (.*)$/.exec(line)?.[1];
      const answer = said && `${said.replaceAll("''", "").replaceAll("$?", "0")}\r\n`;
      socket.write(`\r\n${answer ?? ""}=> `);
      line = "";
    }
  };
}

/**
 * A U-Boot that answers until a bad image is on the board; then it is silent. Beside flashing, a power command may cure it.
 * @param cure how often the power has to be given for that
 */
async function startBoard(
  config: Partial<DeviceConfig>,
  health?: Health,
  kept: Health[] = [],
  cure = Number.POSITIVE_INFINITY,
) {
  const done: string[] = [];
  let isGood = true;
  const board = (socket: Socket) => {
    const shell = uboot(socket);
    socket.setEncoding("latin1").on("data", (typed: string) => isGood && shell(typed));
  };
  const lab = await startLab({
    config: {
      console: "u-boot",
      bootTimeoutMs: 2500,
      power: { on: "on", off: "off", timeoutMs: 5000 },
      ...config,
    },
    board,
    ...(health && { health }),
    saveHealth: (saved) => kept.push(saved),
    command: async (script, end, variables) => {
      if (script === "hang") {
        if (!end.aborted) await once(end, "abort");
        return { code: null, output: "" };
      }
      if (script === "on") done.push("power");
      if (done.filter((what) => what === "power").length >= cure) isGood = true;
      if (script === "bad flash") done.push(script);
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

const recover = [
  { kind: "power" },
  { kind: "flash", script: "flash", lend: true, timeoutMs: 30_000 },
] as const;

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

test("recover: a step that fails is followed by the next one, and none by itself makes the board ready", async () => {
  const steps = [
    // A console server without control lines can't reset.
    { kind: "reset" },
    { kind: "flash", script: "bad flash", lend: false, timeoutMs: 30_000 },
    { kind: "power" },
  ] as const;
  const { lab, done, spoil } = await startBoard(
    { recover: steps, reset: "rts", health: { job: "health" }, quarantineAfter: 1 },
    undefined,
    [],
    2,
  );
  await using _ = lab;
  await spoil();
  await lab.becomes("recovering");
  await lab.becomes("ready");
  assert.deepEqual(done, ["power", "bad flash", "power"]);
  const reasons = lab.device.history.map(({ reason }) => reason ?? "");
  for (const why of [/no control lines/, /flash-failed: .*no probe/])
    assert.ok(
      reasons.some((reason) => why.test(reason)),
      `${why}: ${reasons.join("\n")}`,
    );
  assert.equal(lab.device.health.failures, 0);
});

test("recover: a board whose port stays away after a bad image is flashed, too", async () => {
  const flashed = Promise.withResolvers<void>();
  const lab = await startLab({
    config: {
      bootTimeoutMs: 2000,
      recover: [{ kind: "flash", script: "flash", lend: true, timeoutMs: 30_000 }],
    },
    board: () => {},
    command: async () => {
      await lab.plug();
      flashed.resolve();
      return { code: 0, output: "" };
    },
  });
  await using _ = lab;
  {
    using reservation = await lab.device.reserve("bad#1", { name: "bad" }, signal);
    await lab.unplug();
    reservation.release({ kind: "sick", reason: "unplugged" });
  }
  await flashed.promise;
  await lab.becomes("ready");
  const reasons = lab.device.history.map(({ reason }) => reason ?? "");
  assert.ok(
    reasons.some((reason) => reason.endsWith("; recovering: flash")),
    reasons.join("\n"),
  );
});

test("recover: nobody flashes a board that is unplugged long after its build", async () => {
  const scripts: string[] = [];
  const lab = await startLab({
    config: {
      bootTimeoutMs: 1,
      recover: [{ kind: "flash", script: "flash", lend: true, timeoutMs: 30_000 }],
    },
    board: () => {},
    command: async (script) => {
      scripts.push(script);
      return { code: 0, output: "" };
    },
  });
  await using _ = lab;
  {
    using reservation = await lab.device.reserve("good#1", { name: "good" }, signal);
    reservation.release({ kind: "well", passed: true });
  }
  // Longer than the boot timeout.
  await lab.becomes("ready");
  await delay(10);
  await lab.unplug();
  await lab.becomes("absent");
  await lab.plug();
  await lab.becomes("ready");
  assert.deepEqual(scripts, []);
});

test("an agent that ends waits a moment for a flash, and not for one that hangs", async () => {
  const recover = [{ kind: "flash", script: "hang", lend: false, timeoutMs: 600_000 }] as const;
  const started = Promise.withResolvers<void>();
  let isAborted = false;
  const config = { console: "u-boot", bootTimeoutMs: 2500, recover } as const;
  let isGood = true;
  const lab = await startLab({
    config,
    board: (socket) => {
      const shell = uboot(socket);
      socket.setEncoding("latin1").on("data", (typed: string) => isGood && shell(typed));
    },
    command: async (_, end) => {
      started.resolve();
      if (!end.aborted) await once(end, "abort");
      isAborted = true;
      return { code: null, output: "" };
    },
  });
  {
    await using _ = lab;
    using reservation = await lab.device.reserve("bad#1", { name: "bad" }, signal);
    isGood = false;
    reservation.release({ kind: "doubtful", reason: "panic" });
    await started.promise;
  }
  assert.ok(isAborted);
});

test("a power command ends at its own limit, and the board is probed all the same", async () => {
  const { lab } = await startBoard({ power: { cycle: "hang", timeoutMs: 200 } });
  await using _ = lab;
  {
    using reservation = await lab.device.reserve("job#1", { name: "job" }, signal);
    const step = reservation.switchPower("cycle", signal, () => {});
    await assert.rejects(step, { reason: "power-failed", message: /power\.cycle didn't end in time/ });
    reservation.release({ kind: "sick", reason: "power-failed" });
  }
  await lab.becomes("recovering");
  await lab.becomes("ready");
  assert.ok(lab.device.history.some(({ reason }) => reason?.includes("power.cycle didn't end in time")));
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
