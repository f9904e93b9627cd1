/** Holds conversations over a port, by this box's clock. */
import type { Dialogue } from "./consoles/dialogue.ts";
import { type ConsoleLine, type ConverseOptions, converse } from "./consoles/driver.ts";

/** What isn't wanted is dropped. */
export type TalkOptions = Pick<ConverseOptions, "signal"> & Partial<Omit<ConverseOptions, "now">>;

const drop = () => {};

/**
 * @returns what the dialogue ends with
 * @throws BoardFailure; DeviceError PORT_LOST; the signal's reason
 */
export function talk<T>(dialogue: Dialogue<T>, line: ConsoleLine, options: TalkOptions): Promise<T> {
  return converse(dialogue, line, {
    now: () => performance.now(),
    onOutput: drop,
    onNote: drop,
    onProgress: drop,
    ...options,
  });
}
