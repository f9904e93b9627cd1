/**
 * Every shell × locale × terminal size × surroundings: the console gets ready, a script of 200 lines is exact, and exit codes come back. A
 * sample from a seed, or in the long run all of them.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { LinuxConsole } from "#/devices/consoles/linux/linux.ts";
import { lacks, optionalPart, part, partsEnv } from "../../support/parts.ts";
import { seeded } from "../../support/random.ts";
import { temporaryFolder } from "../../support/servers.ts";
import { lacksMachine } from "../../targets/machine.ts";
import { conversation, newToken } from "./conversation.ts";
import { type ShellLineOptions, startShellLine } from "./shell-line.ts";

const skip = lacks("socat", "busybox", "zsh", "fish", "tcsh", "mksh");

/** By the file that each reads when it starts: a prompt and more is set there. */
const shells: Record<string, { command: () => string; rc: string; prompt: (text: string) => string }> = {
  dash: { command: () => "/bin/dash -i", rc: ".shrc", prompt: (text) => `PS1='${text}'` },
  ash: { command: () => `${part("busybox")} ash -i`, rc: ".shrc", prompt: (text) => `PS1='${text}'` },
  bash: { command: () => "/bin/bash -i", rc: ".bashrc", prompt: (text) => `PS1='${text}'` },
  mksh: { command: () => `${part("mksh")} -i`, rc: ".shrc", prompt: (text) => `PS1='${text}'` },
  zsh: { command: () => `${part("zsh")} -i`, rc: ".zshrc", prompt: (text) => `PS1='${text}'` },
  fish: {
    command: () => `${part("fish")} -i`,
    rc: ".config/fish/config.fish",
    prompt: (text) => `function fish_prompt; printf '${text}'; end`,
  },
  tcsh: { command: () => `${part("tcsh")} -i`, rc: ".tcshrc", prompt: (text) => `set prompt='${text}'` },
  toybox: { command: () => `sh -i`, rc: ".shrc", prompt: (text) => `PS1='${text}'` },
};

/** As on Android: mksh, and toybox's programs. What Debian builds it without comes from busybox. @returns the start of a script */
function onlyToybox(folder: string): string {
  const toybox = part("toybox");
  mkdirSync(folder);
  const [busybox, mksh] = [part("busybox"), part("mksh")];
  const programs = Object.fromEntries(
    execFileSync(toybox, { encoding: "utf8", env: partsEnv })
      .split(/\s+/)
      .map((name) => [name, toybox]),
  );
  for (const [name, file] of Object.entries({
    dd: busybox,
    tr: busybox,
    stty: busybox,
    ...programs,
    sh: mksh,
  }))
    if (/^[\w[]/.test(name)) symlinkSync(file, `${folder}/${name}`);
  return `PATH=${folder};export PATH;`;
}
const locales = { none: {}, "UTF-8": { LC_ALL: "C.UTF-8" } };
const sizes = ["0x0", "24x80"];
const surroundings = ["clean", "coloured prompt", "chatty console", "slow profile", "read-only root"];

interface Case {
  readonly shell: string;
  readonly locale: string;
  readonly size: string;
  readonly surrounding: string;
}

function* allCases(): Generator<Case> {
  for (const shell of Object.keys(shells))
    for (const locale of Object.keys(locales))
      for (const size of sizes)
        for (const surrounding of surroundings) yield { shell, locale, size, surrounding };
}

/** So many of the cases that each shell and each surrounding is among them. */
function sample(count: number): Case[] {
  const random = seeded(13);
  const cases = [...allCases()];
  const names = Object.keys(shells);
  return Array.from({ length: count }, (_, index) => {
    const shell = names[index % names.length];
    const surrounding = surroundings[index % surroundings.length];
    const fitting = cases.filter((one) => one.shell === shell && one.surrounding === surrounding);
    return fitting[random(fitting.length)] as Case;
  });
}

const script = Array.from({ length: 200 }, (_, index) => `echo "line ${index} 'quoted' \\$x \\\\ ~"`).join(
  "\n",
);
const output = Array.from({ length: 200 }, (_, index) => `line ${index} 'quoted' $x \\ ~\n`).join("");

for (const one of process.env.LABGEAR_TEST_LONG ? allCases() : sample(9)) {
  const { shell, locale, size, surrounding } = one;
  test(`${shell}, locale ${locale}, terminal ${size}, ${surrounding}`, {
    skip:
      skip ||
      (shell === "toybox" && optionalPart("toybox") === undefined && "NOT RUN: no toybox is to be had") ||
      (surrounding === "read-only root" && lacksMachine()),
  }, async () => {
    await using home = await temporaryFolder();
    const { command, rc, prompt } = shells[shell] as (typeof shells)[string];
    mkdirSync(`${home.path}/.config/fish`, { recursive: true });
    const lines = {
      "coloured prompt": prompt("\u001b[1;32mroot@board\u001b[0m:\u001b[34m~\u001b[0m> "),
      "slow profile": `/bin/sleep 3\n${prompt("board> ")}`,
    }[surrounding];
    if (lines !== undefined) writeFileSync(`${home.path}/${rc}`, `${lines}\n`);
    const stty = size === "24x80" ? "stty rows 24 cols 80;" : "";
    const path = shell === "toybox" ? onlyToybox(`${home.path}/bin`) : "";
    writeFileSync(`${home.path}/start`, `${stty}${path}exec ${command()}`);
    const options: ShellLineOptions = {
      env: {
        LC_ALL: undefined,
        LANG: undefined,
        PS1: undefined,
        ...locales[locale as keyof typeof locales],
        HOME: home.path,
        ENV: `${home.path}/.shrc`,
        TERM: "vt100",
      },
      ...(surrounding === "read-only root" && { readOnly: true }),
    };
    await using line = startShellLine(`/bin/sh ${home.path}/start`, options);
    const chatter =
      surrounding === "chatty console"
        ? setInterval(() => line.inject("appd: heartbeat\r\n"), 300)
        : undefined;
    using _ = { [Symbol.dispose]: () => clearInterval(chatter) };
    const talk = conversation(line);
    const console = new LinuxConsole({ token: newToken });
    await talk.hold(console.enter(60_000));
    for (const code of [7, 0]) {
      const result = await talk.hold(console.run(`${script}\nexit ${code}`, { timeoutMs: 60_000 }));
      assert.deepEqual(result, { code, complete: true }, line.last);
      assert.equal(talk.output.toString(), output);
    }
  });
}
