/** A leased board's console on this terminal; Ctrl-] opens a menu. */
import type { Deed } from "#/exchange/typing.ts";
import { formatSeconds } from "#/lib/units.ts";
import { TerminalFilter } from "../terminal.ts";
import type { HeldBoard, Used } from "./session.ts";

/** Ctrl-], as in telnet and virsh. */
const escapeKey = 0x1d;
const breakMs = 250;
const extendSeconds = 30 * 60;

export const menuText =
  "p power cycle, r reset, b break, e extend by 30m, t time left, q release, Ctrl-] types it, any other key goes back";

/**
 *     typing ──Ctrl-]──▶ menu ──a key──▶ typing
 *                          └──q──▶ released
 */
export async function useTerminal(
  board: HeldBoard,
  ended: AbortSignal,
  { say, raw }: { readonly say: (text: string) => void; readonly raw: boolean },
): Promise<Used> {
  const { stdin, stdout } = process;
  const { holder } = board;
  const released = Promise.withResolvers<void>();
  let isInMenu = false;

  const perform = (deed: Deed, text: string) => {
    say(text);
    holder.do(deed);
  };
  const choose = (key: number) => {
    isInMenu = false;
    if (key === escapeKey) return holder.write(Uint8Array.of(key));
    switch (String.fromCharCode(key)) {
      case "p":
        return perform({ op: "power", action: "cycle" }, "power cycle");
      case "r":
        return perform({ op: "reset" }, "reset");
      case "b":
        return perform({ op: "break", ms: breakMs }, "break");
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
        if (isInMenu) choose(bytes[at++] ?? 0);
        else {
          const found = bytes.indexOf(escapeKey, at);
          const end = found < 0 ? bytes.length : found;
          holder.write(bytes.subarray(at, end));
          at = end + 1;
          if (found < 0) continue;
          isInMenu = true;
          say(menuText);
        }
      }
    stdin.pause();
    void holder.drained().then(() => stdin.resume());
  };
  const shown = printer(stdout, raw);
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

/** On a terminal only text and colours, unless it is raw. */
function printer(stdout: NodeJS.WriteStream, raw: boolean) {
  if (!stdout.isTTY || raw) return { print: (bytes: Buffer) => void stdout.write(bytes), end() {} };
  const filter = new TerminalFilter();
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  return {
    print: (bytes: Buffer) => void stdout.write(filter.write(decoder.decode(bytes, { stream: true }))),
    end: () => void stdout.write(filter.write(decoder.decode()) + filter.end()),
  };
}
