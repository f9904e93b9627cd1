/** Makes the configured console of a device. */
import { randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import type { DeviceConfig } from "#/config/model.ts";
import { BoardFailure } from "../errors.ts";
import type { Console } from "./console.ts";
import type { KnownBoard } from "./linux/known.ts";
import { LinuxConsole } from "./linux/linux.ts";
import type { Login } from "./linux/login.ts";
import { MicropythonConsole } from "./micropython/micropython.ts";
import { PromptShellConsole } from "./prompt-shell/prompt-shell.ts";
import { RawConsole } from "./raw.ts";
import { UbootConsole } from "./u-boot/u-boot.ts";

/**
 * @param known what earlier dialogues learned about the device; the console updates it
 * @throws BoardFailure login-refused when the password file can't be read
 */
export function newConsole(config: DeviceConfig, known: KnownBoard): Console {
  const { console, prompt, autobootKey, bootSilenceMs } = config;
  const own = { token: randomToken, ...(prompt !== undefined && { prompt }) };
  switch (console) {
    case "linux": {
      const login = loginOf(config);
      return new LinuxConsole({ ...own, bootSilenceMs, known, ...(login && { login }) });
    }
    case "u-boot":
      return new UbootConsole({ ...own, ...(autobootKey !== undefined && { autobootKey }) });
    case "barebox":
    case "zephyr":
    case "nuttx":
      return new PromptShellConsole(console, {
        ...(prompt !== undefined && { prompt }),
        ...(autobootKey !== undefined && { wake: autobootKey }),
      });
    case "micropython":
      return new MicropythonConsole({ ...own, known });
    case "raw":
      return new RawConsole();
  }
}

/** Reads the password file each time, so a new password needs no reload. */
function loginOf({ login }: DeviceConfig): Login | undefined {
  if (!login) return undefined;
  const { passwordFile, ...known } = login;
  if (passwordFile === undefined) return known;
  try {
    return { ...known, password: readFileSync(passwordFile, "utf8").replace(/\r?\n$/, "") };
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new BoardFailure("login-refused", `the password file ${passwordFile} can't be read (${code})`, {
      cause,
    });
  }
}

const letters = "abcdefghijklmnopqrstuvwxyz0123456789";

function randomToken(): string {
  return Array.from({ length: 8 }, () => letters[randomInt(letters.length)]).join("");
}
