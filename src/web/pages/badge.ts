/** Badges for states and results. The colour only repeats what the word says. */
import type { BuildSummary } from "#/builds/record.ts";
import type { DeviceStatus } from "#/lib/status.ts";
import type { RunningBuild } from "../api/views.ts";
import { type Html, html } from "./html.ts";

export type Tone = "good" | "bad" | "warn" | "busy" | "idle";

export function badge(tone: Tone, word: string): Html {
  return html`<span class="badge ${tone}">${word}</span>`;
}

/** The result of a build as sent to the client, or why none was sent. */
export function resultBadge({ result, ending }: Pick<BuildSummary, "result" | "ending">): Html {
  switch (ending?.kind) {
    case "passed":
      return badge("good", result ?? "SUCCESS");
    case "failed":
      return badge("bad", result ?? "FAILURE");
    case "timed-out":
      return badge("bad", result ?? "TIMED_OUT");
    case "stopped":
      return badge("idle", result ?? "ABORTED");
    case "infrastructure":
      return badge("warn", "NO RESULT");
    case "lost":
      return badge("warn", "LOST");
    case undefined:
      return badge("idle", "?");
  }
}

export function phaseBadge({ phase }: Pick<RunningBuild, "phase">): Html {
  return badge(phase === "stopping" ? "warn" : "busy", phase);
}

const deviceTones: Record<DeviceStatus["state"], Tone> = {
  absent: "idle",
  opening: "warn",
  proving: "warn",
  ready: "good",
  busy: "busy",
  recovering: "warn",
  quarantined: "bad",
  paused: "idle",
};

export function deviceBadge(state: DeviceStatus["state"]): Html {
  return badge(deviceTones[state], state);
}
