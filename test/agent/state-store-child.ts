/** Takes one build number from the store in the folder argv[2] and prints it, or the error's code and message. */
import { openStore } from "#/agent/state-store.ts";

try {
  process.stdout.write(
    String((await openStore(process.argv[2] ?? "")).nextBuildNumber(process.argv[3] ?? "job")),
  );
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException;
  process.stdout.write(`${code}: ${message}`);
}
