/** Looks through U-Boot's output for what isn't a command's: that it starts, that it crashed, that a kernel runs. */

/** Of a line. */
const longest = 300;

export class UbootWatch {
  /** The line that says so. */
  crash: string | undefined;
  rebooted = false;
  kernel = false;
  #line = "";
  /** A line that a boot begins with, and `version` prints too. */
  #banner = false;

  text(text: string): void {
    const lines = (this.#line + text).split("\n");
    this.#line = lines.pop()?.slice(0, longest) ?? "";
    for (const line of lines) this.#take(line.trim().slice(0, longest));
  }

  #take(line: string): void {
    if (
      /^### ERROR ### Please RESET|^"(?:Synchronous Abort|Error)" handler|^(?:data abort|prefetch abort|undefined instruction)$/.test(
        line,
      )
    )
      this.crash ??= line;
    if (/^U-Boot [ST]PL \d{4}\./.test(line)) this.rebooted = true;
    if (/^U-Boot \d{4}\./.test(line)) this.#banner = true;
    else if (this.#banner && /^(?:DRAM|CPU|SoC|Model|Core): |^Hit any key to stop autoboot/.test(line))
      this.rebooted = true;
    if (/^(?:\[ *\d+\.\d+\] )?(?:Booting Linux on physical CPU|Linux version \d)/.test(line))
      this.kernel = true;
  }
}
