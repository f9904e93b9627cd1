// Switches an emulated board's power from a shell: node power.mjs SOCKET on|off|cycle|reset|flash IMAGE. Ends with 0 when it's
// done.
import { connect } from "node:net";

const [path = "", ...action] = process.argv.slice(2);
let answer = "";
const socket = connect(path, () => socket.write(`${action.join(" ")}\n`));
socket.setEncoding("utf8");
socket.on("data", (text) => {
  answer += text;
});
socket.on("error", (error) => {
  answer = error.message;
});
socket.on("close", () => {
  if (answer === "done\n") return;
  console.error(`the power stays as it is: ${answer.trim() || "no answer"}`);
  process.exitCode = 1;
});
