/** Whether a port that was found is the one that the configuration means. */
import type { PortMatch } from "#/config/model.ts";
import { DeviceError } from "../errors.ts";
import type { TtyFacts } from "./sysfs.ts";

/** A port that is there at this moment. */
export interface FoundPort extends Omit<TtyFacts, "name"> {
  /** The device file itself, no link: /dev/ttyUSB0. */
  readonly path: string;
  /** Its name in /dev/serial/by-id. */
  readonly byId?: string;
  /** The programs that have it open; only told where it was asked for. */
  readonly inUse?: readonly string[];
}

/** All that a match says but its path and its by-id name, which are looked up. */
export function fits(port: FoundPort, match: PortMatch): boolean {
  return (["usb", "serial", "location", "interface"] as const).every(
    (key) => match[key] === undefined || match[key] === port[key],
  );
}

/** @throws DeviceError PORT_AMBIGUOUS when there are several */
export function onlyOne(ports: readonly FoundPort[], match: PortMatch): FoundPort | undefined {
  if (ports.length < 2) return ports[0];
  const list = ports.slice(0, 8).map((port) => [port.path, ...differences(port)].join(" "));
  const more = ports.length > list.length ? ", …" : "";
  const message = `${ports.length} ports fit ${describeMatch(match)}: ${list.join(", ")}${more}; say which by serial, location or interface`;
  throw new DeviceError("PORT_AMBIGUOUS", message);
}

function differences(port: FoundPort): string[] {
  return (["serial", "location", "interface"] as const).flatMap((key) =>
    port[key] === undefined ? [] : [`${key} ${port[key]}`],
  );
}

/** A match as a person reads it: `usb 0403:6011, interface 2`. */
export function describeMatch(match: PortMatch): string {
  const names = {
    path: "path",
    byId: "by-id",
    usb: "usb",
    serial: "serial",
    location: "location",
    interface: "interface",
  };
  return Object.entries(names)
    .flatMap(([key, name]) => {
      const value = match[key as keyof PortMatch];
      return value === undefined ? [] : [`${name} ${value}`];
    })
    .join(", ");
}
