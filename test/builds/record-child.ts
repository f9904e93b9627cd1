/** Writes a long record into the folder argv[2] and prints "written", or the error's code. */
import { writeRecord } from "#/builds/record.ts";
import { record } from "./build-parts.ts";

try {
  await writeRecord(process.argv[2] ?? "", record({ description: "x".repeat(100_000) }));
  process.stdout.write("written");
} catch (error) {
  process.stdout.write(String((error as NodeJS.ErrnoException).code));
}
