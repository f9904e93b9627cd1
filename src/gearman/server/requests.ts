/** Maps each request packet to the job queue; no I/O. */
import type { Packet, PacketType } from "../wire/packet.ts";
import type { ConnectionId, Job, Priority } from "./jobs.ts";
import type { Effect, JobQueue } from "./queue.ts";

/** What each type of submit says. */
const submits: Partial<Record<PacketType, readonly [Priority, background: boolean]>> = {
  SUBMIT_JOB: ["normal", false],
  SUBMIT_JOB_BG: ["normal", true],
  SUBMIT_JOB_HIGH: ["high", false],
  SUBMIT_JOB_HIGH_BG: ["high", true],
  SUBMIT_JOB_LOW: ["low", false],
  SUBMIT_JOB_LOW_BG: ["low", true],
};

/**
 * Handles one request of a connection. Source: PROTOCOL of gearmand, "Client/Worker Requests" and the parts that follow;
 * codes and texts of errors as in gearmand 1.1.20.
 */
export function handleRequest(queue: JobQueue, id: ConnectionId, packet: Packet): Effect[] {
  const [first = none, second = none, third = none] = packet.args;
  const { type } = packet;
  const submit = submits[type];
  if (submit) {
    const [priority, background] = submit;
    return queue.submit(id, { name: first, unique: second, data: third, priority, background });
  }
  switch (type) {
    case "CAN_DO":
      return queue.canDo(id, first);
    case "CAN_DO_TIMEOUT": {
      const seconds = second.toString("latin1");
      if (/^\d{1,10}$/.test(seconds)) return queue.canDo(id, first, Number(seconds));
      return queue.refuse(id, "INVALID_ARGUMENTS", "The timeout of CAN_DO_TIMEOUT is a number of seconds");
    }
    case "CANT_DO":
      queue.cantDo(id, first);
      return [];
    case "RESET_ABILITIES":
      queue.resetAbilities(id);
      return [];
    case "SET_CLIENT_ID":
      return queue.setClientId(id, first);
    case "PRE_SLEEP":
      return queue.preSleep(id);
    case "GRAB_JOB":
      return queue.grab(id, "JOB_ASSIGN");
    case "GRAB_JOB_UNIQ":
    // JOB_ASSIGN_ALL is for reduce jobs, which this server doesn't take.
    case "GRAB_JOB_ALL":
      return queue.grab(id, "JOB_ASSIGN_UNIQ");
    case "WORK_DATA":
    case "WORK_WARNING":
    case "WORK_STATUS":
      return queue.progress(id, type, ...handleAndRest(packet));
    case "WORK_COMPLETE":
    case "WORK_FAIL":
    case "WORK_EXCEPTION":
      return queue.finish(id, type, ...handleAndRest(packet));
    case "GET_STATUS": {
      if (first.includes(0)) return queue.refuse(id, "INVALID_ARGUMENTS", "A handle has no NUL byte");
      const status = statusOf(queue.jobs.find(first.toString("latin1")));
      return [{ kind: "send", to: [id], type: "STATUS_RES", args: [first, ...status] }];
    }
    case "GET_STATUS_UNIQUE": {
      if (first.includes(0)) return queue.refuse(id, "INVALID_ARGUMENTS", "A unique has no NUL byte");
      const job = queue.functions.findUnique(first);
      const args = [first, ...statusOf(job), String(job?.clients.length ?? 0)];
      return [{ kind: "send", to: [id], type: "STATUS_RES_UNIQUE", args }];
    }
    case "ECHO_REQ":
      return [{ kind: "send", to: [id], type: "ECHO_RES", args: [first] }];
    case "OPTION_REQ":
      if (first.toString("latin1") !== "exceptions") {
        return queue.refuse(id, "UNKNOWN_OPTION", "Server does not recognize given option");
      }
      queue.wantExceptions(id);
      return [{ kind: "send", to: [id], type: "OPTION_RES", args: [first] }];
    // The worker talks to no other server; it changes nothing here.
    case "ALL_YOURS":
      return [];
    case "SUBMIT_JOB_SCHED":
    case "SUBMIT_JOB_EPOCH":
    case "SUBMIT_REDUCE_JOB":
    case "SUBMIT_REDUCE_JOB_BACKGROUND":
      return queue.refuse(
        id,
        "INVALID_COMMAND",
        `This server doesn't do ${type}; submit the job when it is due`,
      );
    default:
      return queue.refuse(id, "INVALID_COMMAND", `${type} is not a request to a job server`);
  }
}

const none = Buffer.alloc(0);

function handleAndRest(packet: Packet): [handle: Buffer, ...Buffer[]] {
  const [handle = none, ...rest] = packet.args;
  return [handle, ...rest];
}

/** Known, running, numerator, denominator. */
function statusOf(job: Job | undefined): (string | Uint8Array)[] {
  if (!job) return ["0", "0", "0", "0"];
  return ["1", job.state.kind === "running" ? "1" : "0", ...job.progress];
}
