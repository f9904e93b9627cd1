/** What one dialogue with a device leaves for the next. */
import type { Prepared } from "./prepare.ts";
import { newTypingProfile, type TypingProfile } from "./typing.ts";

export interface KnownBoard {
  readonly typing: TypingProfile;
  /** The shell that was left at our prompt. */
  shell: KnownShell | undefined;
  /** Whether labgear typed the name at a login, so that the session is its own. */
  isLoggedIn: boolean;
  /** Whether the line passes all eight bits; undefined until known. */
  eightBits: boolean | undefined;
  /** Whether MicroPython was left in its raw REPL. */
  isInRawRepl: boolean;
}

export interface KnownShell {
  /** Of its prompt. */
  readonly id: string;
  readonly prepared: Prepared;
}

export function newKnownBoard(): KnownBoard {
  return {
    typing: newTypingProfile(),
    shell: undefined,
    isLoggedIn: false,
    eightBits: undefined,
    isInRawRepl: false,
  };
}
