/** Prepares a board's shell: a prompt that nothing else prints, a quiet terminal, a folder, and our program in it. */
import { BoardFailure } from "../../errors.ts";
import type { Dialogue } from "../dialogue.ts";
import type { LinuxBoard } from "./board.ts";
import { type ChecksumProgram, checksum, checksumPrograms } from "./checksum.ts";
import { encoders, serverProgram } from "./server.ts";
import {
  command,
  commandTimeoutMs,
  enter,
  promptOf,
  type Shell,
  setTerminal,
  typingTimeoutMs,
} from "./shell.ts";
import { type TypingProfile, typeBlind, typeText } from "./typing.ts";

/** What is known about a prepared board. */
export interface Prepared {
  /** The path of our folder on the board. */
  readonly folder: string;
  readonly sum: ChecksumProgram;
  /** Changes with each boot. */
  readonly bootId: string;
  /** Whether our prompt is that of a shell of our own, inside the user's. */
  readonly isNested: boolean;
}

/** The line that starts our program, and what it answers: how the board decodes and encodes, and the checksum of the program there. */
export function starting({ folder, sum }: Prepared, key: string): { line: string; answer: RegExp } {
  return {
    line: `sh ${folder}/s ${sum} ${key}`,
    answer: new RegExp(`~${key}:up:(octal|base64):(hex|base64):(\\w*):up:\\1:\\2:\\3`),
  };
}

/** The checksum that it answers with if it is undamaged. */
export function programSum(sum: ChecksumProgram): string {
  return checksum(sum, Buffer.from(serverProgram));
}

/** Besides a checksum program and an encoder. */
const requiredPrograms = ["cat", "dd", "mkdir", "mv", "printf", "rm", "sleep", "tr", "wc"];
/** How often an inspection may be repeated before the board is prepared again. */
const maxInspections = 3;
const maxUploads = 12;
/** What fits a terminal's line and its buffer. */
const maxPieceLength = 200;
const minPieceLength = 12;
/** Until it is set, a serial terminal is 0 by 0, and line editors break lines. This one is short enough for them. */
const setSize = `: \${lgz:=$(stty size)};stty rows 24 cols 250`;
/** In a shell of ours, the next one takes its place, so that they don't pile up. No script inherits the size. */
const replaceShell =
  'env(){ case $1 in PS1=lg-*)exec env "lgz=$lgz" "$@";esac;command env "$@";};lgu=$lgz;unset lgz;lgz=$lgu';

/**
 * Starts at a shell.
 * @throws BoardFailure noise when typing doesn't get through; mismatch when the board lacks a tool
 */
export function* prepare(shell: Shell, timeoutMs: number): Dialogue<Prepared> {
  const { board } = shell;
  const end = board.now + timeoutMs;
  const isNested = yield* startSh(shell);
  const mark = shell.token();
  yield* command(shell, `${setSize};echo ${mark.slice(0, 1)}''${mark.slice(1)}`, end, mark);
  // Scripts inherit none of these. PS1 and PS2 are set together, so the prompt proves that the whole line arrived.
  const savePrompt = isNested ? "" : "case $PS1 in lg-*);;*)lgu=$PS1;esac;";
  yield* command(
    shell,
    `${savePrompt}unset ENV PROMPT_COMMAND HISTFILE PS1;PS1='lg''-${shell.id}# ' PS2=`,
    end,
  );
  yield* command(shell, isNested ? `${setTerminal};${replaceShell}` : setTerminal, end);
  for (let uploads = 0; uploads < maxUploads && board.now < end; ) {
    // A damaged line does something else, so these are repeated until the result is right.
    yield* command(
      shell,
      // The folder belongs to the terminal, so later consoles find the program there. A full one takes an empty file.
      "for d in /tmp /dev/shm /run /var/tmp ~;do T=$d/.lg-$(tty|tr -dc a-zA-Z0-9);mkdir -m 700 -p $T;[ -O $T ]&&dd if=/dev/zero of=$T/w bs=32k count=1&&rm $T/w&&break;T=/;done 2>/dev/null",
      end,
    );
    yield* command(
      shell,
      `for C in ${checksumPrograms.join(" ")} none;do $C </dev/null>/dev/null&&break;done 2>&-`,
      end,
    );
    // `M` names what our program needs and the board lacks.
    yield* command(
      shell,
      `M=;{ for p in ${requiredPrograms.join(" ")};do command -v $p||M=$M,$p;done;${encoders.map((name) => `command -v ${name}||`).join("")}M=$M,od;} >/dev/null 2>&1`,
      end,
    );
    const before = yield* inspect(shell, end);
    if (!before) continue;
    if (hasProgram(before)) return { ...before, isNested };
    uploads++;
    yield* upload(shell, end);
    const after = yield* inspect(shell, end);
    if (after && hasProgram(after)) return { ...after, isNested };
  }
  throw new BoardFailure(
    "noise",
    "typed text arrives at the board damaged: check the line, its speed and its flow control",
  );
}

/**
 * Starts a plain shell inside the user's, be it zsh, fish or tcsh: without a line editor, colours, or a prompt that is set anew. The line is
 * typed without a look at its echo, which a line editor garbles. A job's `exit` ends both.
 * @returns false where there is no `env`, or the line doesn't get through: the user's shell takes the commands then
 */
function* startSh(shell: Shell): Dialogue<boolean> {
  const { board, profile } = shell;
  // Ours may stand there already.
  const id = shell.token();
  const prompt = promptOf({ id });
  const line = ` env PS1='lg''-${id}# ' PS2= ENV= PROMPT_COMMAND= sh -i&&exit`;
  for (let attempt = 0; attempt < 2; attempt++) {
    yield* typeBlind(`\x15${line}\n`, board, profile);
    const output = yield* board.readUntil(
      (text) => text.includes(prompt),
      commandTimeoutMs,
      () => 1000,
    );
    if (output.includes(prompt)) return true;
    if (board.boot.lines.size > 0) return false;
    // The line may have left a quote open.
    yield* board.send("\x03");
    yield* board.drain(100, 1000);
  }
  return false;
}

/** What takes back at our prompt what prepare() did there, and then prints a mark. */
export function leaving({ folder, isNested }: Prepared, mark: string): string {
  const shell = isNested ? "exit 1" : "PS1=$lgu PS2='> ';unset lgu lgz";
  return `rm -rf ${folder};stty sane;stty rows \${lgz% *} cols \${lgz#* };echo ${mark.slice(0, 1)}''${mark.slice(1)};${shell}`;
}

interface Inspection extends Omit<Prepared, "isNested"> {
  /** The checksum of our program on the board. */
  readonly programSum: string;
}

function hasProgram(inspection: Inspection): boolean {
  return inspection.programSum === programSum(inspection.sum);
}

/** Asks until both copies of an answer agree. @returns undefined when they never do: an earlier line arrived damaged then */
function* inspect(shell: Shell, end: number): Dialogue<Inspection | undefined> {
  for (let attempt = 0; attempt < maxInspections; attempt++) {
    const mark = `lg=${shell.token()}`;
    const output = yield* command(
      shell,
      `x=$C:$($C <$T/s 2>&-):$T:$(cat /proc/sys/kernel/random/boot_id):$M:;echo '${mark.slice(0, 2)}''${mark.slice(2)}':$x$x`,
      end,
    );
    const found = new RegExp(`${mark}:((\\w+):(\\w*)[^:\\n]*:(/[^:\\n]*):([^:\\n]*):([\\w,]*):)\\1`).exec(
      output,
    );
    if (!found) continue;
    const [, , name, sumThere = "", folder = "", bootId = "", lacking = ""] = found;
    if (name === "none") {
      throw new BoardFailure(
        "mismatch",
        `the board has none of the programs ${checksumPrograms.join(", ")}: install one`,
      );
    }
    const missing = lacking.split(",").slice(1);
    // A damaged line may have asked for others.
    if (missing.some((program) => program !== "od" && !requiredPrograms.includes(program))) return undefined;
    if (missing.length > 0) {
      const names = missing.map((program) => (program === "od" ? encoders.join(" or ") : program)).join(", ");
      throw new BoardFailure("mismatch", `the board lacks ${names}, which labgear needs to run scripts`);
    }
    if (folder === "/") {
      const message =
        "labgear can write to none of /tmp, /dev/shm, /run, /var/tmp and the user's home on the board, or they are full";
      throw new BoardFailure("mismatch", message);
    }
    const sum = checksumPrograms.find((program) => program === name);
    return sum && { sum, programSum: sumThere, folder, bootId: bootId.trim() };
  }
  return undefined;
}

/** Types our program into a file. While `read` waits, the terminal itself echoes, and no line editor wraps the lines. */
function* upload(shell: Shell, end: number): Dialogue<void> {
  const { board, profile } = shell;
  const timeoutMs = () => Math.min(typingTimeoutMs, end - board.now);
  const loop = ` rm -f $T/s;while IFS= read -r l&&[ "$l" != . ];do printf %b "$l">>$T/s;done`;
  if (yield* typeText(loop, board, profile, timeoutMs())) {
    yield* board.send("\n");
    yield* board.drain(100, 1000);
    const written = escaped(serverProgram);
    for (let from = 0; from < written.length; ) {
      const length = Math.min(maxPieceLength, Math.max(minPieceLength, profile.chunkLength));
      const piece = pieceAt(written, from, length);
      if (!(yield* typeText(piece, board, profile, timeoutMs(), "exact"))) break;
      from += piece.length;
      yield* endPiece(board, profile);
    }
    // Another line end, in case the last one was lost.
    yield* board.send("\n");
    if (
      (yield* typeText(".", board, profile, timeoutMs())) &&
      (yield* enter(shell, promptOf(shell))).includes(promptOf(shell))
    )
      return;
  }
  yield* board.send("\x03");
}

/**
 * Ends a line of the upload. The program's lines may end anywhere, so a doubled line end is harmless. After a lost one, though, clearing
 * the next line clears this one too, so on a line that loses bytes its echo has to come.
 */
function* endPiece(board: LinuxBoard, profile: TypingProfile): Dialogue<void> {
  for (let attempt = 0; attempt < 3; attempt++) {
    yield* board.send("\n");
    if (profile.chunkLength >= maxPieceLength || profile.echoes === false) return;
    const echo = yield* board.readUntil((text) => text.includes("\n"), Math.max(100, 3 * profile.echoMs));
    if (echo.includes("\n")) return;
  }
}

/** For `printf %b`, on one line. */
function escaped(program: string): string {
  return program.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

/** @returns about that many characters, without cutting an escape in two */
function pieceAt(written: string, from: number, length: number): string {
  let to = from;
  while (to < written.length && to - from < length) to += written[to] === "\\" ? 2 : 1;
  return written.slice(from, to);
}
