/** Opens the port at argv[2], prints "open" or why not, and holds it until it is killed. */
import { portAt, reaches } from "./ports.ts";

process.stdin.resume();
const port = portAt(process.argv[2] ?? "", { name: "child" });
port.on("state", (state) => {
  if (state.kind === "absent") process.stdout.write(`absent: ${state.reason}\n`);
  if (state.kind === "refused") process.stdout.write(`${state.error.code}: ${state.reason}\n`);
});
await reaches(port, "open");
process.stdout.write("open\n");
