/** A leased board's console on this terminal; Ctrl-] opens a menu. */
import type { Deed } from "#/exchange/typing.ts";
import { formatSeconds } from "#/lib/units.ts";
import { fileNames } from "../options.ts";
import { TerminalFilter } from "../terminal.ts";
import type { HeldBoard, Used } from "./session.ts";

/** Ctrl-], as in telnet and virsh. */
const escapeKey = 0x1d;
const breakMs = 250;
const extendSeconds = 30 * 60;
const returnKeys = [0x0a, 0x0d];
const backspaceKeys = [0x08, 0x7f];
/** Ctrl-C and Escape. */
const cancelKeys = [0x03, 0x1b];

export const menuText =
  "p power cycle, r reset, b break, s send a file, g get a file, e extend by 30m, t time left, q release, Ctrl-] types it, any other key goes back";

/**
 *     typing ──Ctrl-]──▶ menu ──a key──▶ typing
 *       ▲                  ├──q──▶ released
 *       │                  └──s, g──▶ asking ──names──▶ transferring ──Ctrl-] c──▶ cancelled
 *       └───────────────────────────────┴──────────────────┴───────────────────────────┘
 */
type Mode =
  | { readonly kind: "typing" | "menu" }
  /** For FROM:TO of a file; the text has one character for each byte. */
  | { readonly kind: "asking"; readonly op: "put" | "get"; text: string };

export async function useTerminal(
  board: HeldBoard,
  ended: AbortSignal,
  { say, raw }: { readonly say: (text: string) => void; readonly raw: boolean },
): Promise<Used> {
  const { stdin, stdout } = process;
  const { holder } = board;
  const released = Promise.withResolvers<void>();
  let mode: Mode = { kind: "typing" };
  let isTransferring = false;

  const perform = (deed: Deed, text: string) => {
    say(text);
    holder.do(deed);
  };
  const ask = (op: "put" | "get") => {
    if (isTransferring) return say("one file at a time");
    mode = { kind: "asking", op, text: "" };
    stdout.write(op === "put" ? "send FILE:PATH-ON-THE-BOARD> " : "get PATH-ON-THE-BOARD:FILE> ");
  };
  const transfer = async (op: "put" | "get", names: string) => {
    isTransferring = true;
    try {
      await board.files[op](fileNames(names));
    } catch (error) {
      say((error as Error).message);
    }
    isTransferring = false;
  };
  const edit = (asking: Mode & { kind: "asking" }, key: number) => {
    if (cancelKeys.includes(key) || returnKeys.includes(key)) {
      mode = { kind: "typing" };
      stdout.write("\r\n");
      if (returnKeys.includes(key) && asking.text !== "")
        void transfer(asking.op, Buffer.from(asking.text, "latin1").toString());
    } else if (backspaceKeys.includes(key)) {
      if (asking.text !== "") stdout.write("\b \b");
      asking.text = asking.text.slice(0, -1);
    } else if (key >= 0x20) {
      asking.text += String.fromCharCode(key);
      stdout.write(Uint8Array.of(key));
    }
  };
  const choose = (key: number) => {
    mode = { kind: "typing" };
    if (key === escapeKey) return holder.write(Uint8Array.of(key));
    switch (String.fromCharCode(key)) {
      case "p":
        return perform({ op: "power", action: "cycle" }, "power cycle");
      case "r":
        return perform({ op: "reset" }, "reset");
      case "b":
        return perform({ op: "break", ms: breakMs }, "break");
      case "s":
        return ask("put");
      case "g":
        return ask("get");
      case "c":
        return isTransferring ? holder.purge() : undefined;
      case "e":
        return perform({ op: "extend", seconds: extendSeconds }, "extending as far as the lab allows");
      case "t":
        return say(`${formatSeconds(board.leftMs)} left`);
      case "q":
        return released.resolve();
    }
  };
  const onInput = (bytes: Buffer): void => {
    if (!stdin.isTTY) holder.write(bytes);
    else
      for (let at = 0; at < bytes.length; ) {
        if (mode.kind === "menu") choose(bytes[at++] ?? 0);
        else if (mode.kind === "asking") edit(mode, bytes[at++] ?? 0);
        else {
          const found = bytes.indexOf(escapeKey, at);
          const end = found < 0 ? bytes.length : found;
          // What is typed meanwhile would get between the file and the board.
          if (!isTransferring) holder.write(bytes.subarray(at, end));
          at = end + 1;
          if (found < 0) continue;
          mode = { kind: "menu" };
          say(isTransferring ? "c cancels the transfer, q releases the board" : menuText);
        }
      }
    stdin.pause();
    void holder.drained().then(() => stdin.resume());
  };
  const shown = printer(stdout, raw, () => isTransferring);
  const onEnded = () => released.resolve();
  board.on("serial", shown.print);
  stdin.on("data", onInput);
  ended.addEventListener("abort", onEnded, { once: true });
  if (ended.aborted) onEnded();
  if (stdin.isTTY) {
    stdin.setRawMode(true);
    say("Ctrl-] opens the menu");
  }
  try {
    await released.promise;
    return { reason: "released" };
  } finally {
    if (stdin.isTTY) stdin.setRawMode(false);
    stdin.off("data", onInput).destroy();
    board.off("serial", shown.print);
    shown.end();
  }
}

/** On a terminal only text and colours, unless it is raw, and not what carries a file. */
function printer(stdout: NodeJS.WriteStream, raw: boolean, isHidden: () => boolean) {
  if (!stdout.isTTY || raw)
    return { print: (bytes: Buffer) => void (isHidden() || stdout.write(bytes)), end() {} };
  const filter = new TerminalFilter();
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  return {
    print: (bytes: Buffer) =>
      void (isHidden() || stdout.write(filter.write(decoder.decode(bytes, { stream: true })))),
    end: () => void stdout.write(filter.write(decoder.decode()) + filter.end()),
  };
}
