/** From a validated entry of `devices` to the device that the program uses. */
import { defaults } from "../defaults.ts";
import type { DeviceConfig, PortAddress, PortConfig, PortMatch } from "../model.ts";
import type { ResolveFile } from "../semantics.ts";
import { checked, milliseconds } from "../values.ts";
import type { DeviceDocument, PortDocument } from "./device.ts";
import { parsePort } from "./port-address.ts";

/** @param entry has passed the schema and the semantic checks */
export function resolveDevice(name: string, entry: DeviceDocument, resolveFile: ResolveFile): DeviceConfig {
  const { classes, console, login, prompt, reset, health } = entry;
  const passwordFile = login?.["password-file"];
  const key = entry["autoboot-key"];
  return {
    name,
    classes,
    port: resolvePort(entry.port),
    console,
    ...(login && {
      login: {
        user: login.user,
        ...(passwordFile !== undefined && {
          passwordFile: resolveFile(["devices", name, "login", "password-file"], passwordFile),
        }),
      },
    }),
    ...(prompt !== undefined && { prompt }),
    ...(key !== undefined && { autobootKey: key }),
    power: entry.power ?? {},
    ...(reset && { reset }),
    health: health ?? {},
    quarantineAfter: entry["quarantine-after"] ?? defaults.quarantineAfter,
    bootTimeout: milliseconds(entry["boot-timeout"] ?? defaults.bootTimeout),
  };
}

function resolvePort(port: PortDocument): PortConfig {
  const { baud, flow } = typeof port === "string" ? {} : port;
  return {
    address: checked(portAddress(port), port),
    baud: baud ?? defaults.baud,
    flow: flow ?? defaults.flow,
  };
}

/** @returns where the port is; undefined when the entry, which may not have been checked yet, doesn't say so */
export function portAddress(port: PortDocument): PortAddress | undefined {
  if (typeof port === "string") return parsePort(port);
  if (port.url !== undefined) return parsePort(port.url);
  const { path, "by-id": byId, usb, serial, location, interface: number } = port;
  const match: PortMatch = {
    ...(path !== undefined && { path }),
    ...(byId !== undefined && { byId }),
    ...(usb !== undefined && { usb: usb.toLowerCase() }),
    ...(serial !== undefined && { serial }),
    ...(location !== undefined && { location }),
    ...(number !== undefined && { interface: number }),
  };
  return Object.keys(match).some((key) => key !== "interface") ? { kind: "tty", match } : undefined;
}
