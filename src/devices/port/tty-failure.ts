/** Says why a tty can't be opened, and what to do about it. */
import { stat } from "node:fs/promises";
import { holdersOf } from "../discovery/holders.ts";
import { DeviceError } from "../errors.ts";

/** @param error the binding's, which says the system's reason only in its text */
export async function openFailure(path: string, error: Error): Promise<DeviceError> {
  const { message } = error;
  const fail = (code: "PORT_ABSENT" | "PORT_BUSY" | "PORT_REFUSED", text: string) =>
    new DeviceError(code, text, { cause: error });
  if (/No such file|No such device/.test(message)) return fail("PORT_ABSENT", `${path} isn't there`);
  if (/Cannot lock port|resource busy/i.test(message)) {
    const holders = await holdersOf(path);
    const who = holders.length > 0 ? holders.join(", ") : "another program";
    return fail("PORT_BUSY", `${path} is in use by ${who}: end it, then labgear takes the port`);
  }
  if (/Permission denied|not permitted/.test(message)) {
    const group = await groupOf(path);
    const hint = `add labgear's user to group ${group} (usermod -aG ${group} USER) and restart labgear`;
    return fail("PORT_REFUSED", `${path} can't be opened: permission denied; ${hint}`);
  }
  return fail("PORT_REFUSED", `${path} can't be opened: ${message.replace(/^Error:? /, "")}`);
}

/** Debian gives serial ports to dialout; another group is told by its number. */
async function groupOf(path: string): Promise<string> {
  const { gid } = await stat(path).catch(() => ({ gid: 0 }));
  return gid === 0 || gid === 20 ? "dialout" : String(gid);
}
