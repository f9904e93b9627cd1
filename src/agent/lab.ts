/** The agent as the pages see it. */

import type { Lab } from "#/web/lab.ts";
import type { Agent } from "./agent.ts";
import { agentStatus, deviceStatus } from "./status.ts";

export function labOf(agent: Agent): Lab {
  return {
    builds: agent.builds,
    status: () => agentStatus(agent),
    devices: () => agent.boards.devices.map(deviceStatus),
    feed: (name) => {
      const device = agent.boards.find(name);
      if (!device) return undefined;
      const { port } = device;
      return {
        start: port.ring.start,
        end: port.ring.end,
        buildFrom: device.state.kind === "busy" ? device.reservedFrom : undefined,
        follow: (from, signal) => port.follow(from, signal),
      };
    },
    jobs: () =>
      [...agent.config.jobs.values()].map(({ name, work, nodes }) => ({
        ...{ name, kind: work.kind },
        ...(nodes && { nodes }),
      })),
    counts: () => ({ reconnects: agent.manager.reconnects }),
  };
}
