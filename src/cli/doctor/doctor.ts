/** `labgear doctor`: looks for what keeps the agent from working, and says what to do about each finding. */
import type { Command } from "commander";
import { printable } from "#/lib/text.ts";
import { exitCodes } from "../exit.ts";
import { newCommand, withControl } from "../options.ts";
import { table } from "../print.ts";
import { diagnose } from "./diagnose.ts";
import type { Finding } from "./finding.ts";

export function command(): Command {
  return withControl(
    newCommand("doctor [OPTIONS]", "Looks for what keeps the agent from working, and says what to do."),
  )
    .option("--config <file>", "the configuration to look at")
    .option("--state-dir <folder>", "the agent's state directory", "/var/lib/labgear")
    .option("--json", "the findings as one JSON array")
    .addHelpText("after", "\nExit code: 0 when nothing is wrong, else 1.")
    .action(async (options: { config?: string; stateDir: string; control?: string; json?: true }) => {
      const findings = await diagnose(options);
      process.stdout.write(options.json ? `${JSON.stringify(findings)}\n` : findingsText(findings));
      if (findings.some(({ state }) => state === "bad")) process.exitCode = exitCodes.failure;
    });
}

function findingsText(findings: readonly Finding[]): string {
  const marks = { good: "ok", warning: "note", bad: "BAD" };
  const rows = findings.flatMap(({ state, about, text, advice }) => [
    [marks[state], about, printable(text)],
    ...(advice ? [["", "", `→ ${advice}`]] : []),
  ]);
  return table(rows);
}
