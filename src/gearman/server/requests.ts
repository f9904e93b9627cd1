/** Maps each request, a packet or a line of the admin text protocol, to the job queue; no I/O. */
import type { Packet, PacketType } from "../wire/packet.ts";
import {
  type ConnectionId,
  type Job,
  type JobFunction,
  type Member,
  type Priority,
  queuedCount,
} from "./jobs.ts";
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

export interface AdminReply {
  /** Latin1, one char for each byte; ends with a newline. */
  readonly text: string;
  /** For connections other than the one that asked. */
  readonly effects: readonly Effect[];
}

/** What the server is, for `version` and `getpid`. */
export interface ServerIdentity {
  readonly software: string;
  readonly pid: number;
}

/**
 * Handles one admin line. Source: PROTOCOL of gearmand, "Administrative Protocol", and gearmand 1.1.20 as observed. `show
 * place HANDLE` is our own. Two differences are on purpose: `cancel job` refuses a running job, since no packet stops its
 * worker (after an OK, Zuul would never send its stop:), and `shutdown` is refused from the network.
 */
export function handleLine(queue: JobQueue, line: string, identity: ServerIdentity): AdminReply {
  const words = Buffer.from(line).toString("latin1").split(/\s+/).filter(Boolean);
  const [command = "", verb = "", name = "", ...rest] = words;
  switch (command.toLowerCase()) {
    case "status":
      return list(queue.functions, statusLine);
    case "prioritystatus":
      return list(queue.functions, priorityLine);
    case "workers":
      return list(queue.members, workerLine);
    case "version":
      return say(`OK ${identity.software}\n`);
    case "getpid":
      return say(`OK ${identity.pid}\n`);
    case "show":
      if (verb === "jobs" && !name) return list(queue.jobs, jobLine);
      if (verb === "place" && name && rest.length === 0) return say(`OK ${queue.placeOf(name)}\n`);
      if (verb === "unique" && name === "jobs" && rest.length === 0) return list(queue.jobs, uniqueLine);
      return say("ERR UNKNOWN_SHOW_ARGUMENTS\r\n");
    case "cancel":
      return verb === "job" && name ? cancel(queue, name) : incomplete("cancel job HANDLE");
    case "create":
      return verb === "function" && name ? create(queue, name) : incomplete("create function NAME");
    case "drop":
      return verb === "function" && name ? drop(queue, name) : incomplete("drop function NAME");
    case "maxqueue":
      return verb && rest.length === 0 ? limit(queue, verb, name) : incomplete("maxqueue FUNCTION [COUNT]");
    case "shutdown":
      return say("ERR NOT_ALLOWED This+server+ends+with+the+program+it+is+part+of\r\n");
    default:
      return say("ERR UNKNOWN_COMMAND Unknown+server+command\r\n");
  }
}

const say = (text: string, effects: readonly Effect[] = []): AdminReply => ({ text, effects });

const incomplete = (usage: string): AdminReply =>
  say(`ERR INVALID_ARGUMENTS The+command+is+${usage.replaceAll(" ", "+")}\r\n`);

function list<Item>(items: Iterable<Item>, line: (item: Item) => string): AdminReply {
  return say(`${[...items].map((item) => `${line(item)}\n`).join("")}.\n`);
}

/** FUNCTION, TOTAL (queued and running), RUNNING, WORKERS (that can do it). */
function statusLine(entry: JobFunction): string {
  return [entry.name, queuedCount(entry) + entry.running, entry.running, entry.workers.size].join("\t");
}

/** FUNCTION, the queued jobs of high, normal and low priority, WORKERS. */
function priorityLine({ name, queues: { high, normal, low }, workers }: JobFunction): string {
  return [name, high.size, normal.size, low.size, workers.size].join("\t");
}

/** FD IP CLIENT-ID : FUNCTION ...; the connection's number stands in for the file descriptor. */
function workerLine(member: Member): string {
  const names = [...member.abilities.keys()].map((entry) => ` ${entry.name}`);
  return `${member.id} ${member.address} ${oneWord(member.clientId)} :${names.join("")}`;
}

/** HANDLE, workers lost so far, whether all clients of a foreground job have left, whether it is a background job. */
function jobLine(job: Job): string {
  const isIgnored = !job.background && job.clients.length === 0;
  return [job.handle, job.losses, Number(isIgnored), Number(job.background)].join("\t");
}

const uniqueLine = (job: Job): string => oneWord(Buffer.from(job.unique).toString("latin1"));

/** Text from a client must not end a line or start a column. */
const oneWord = (text: string): string => text.replace(/[\0-\x20\x7f]/g, "_");

function cancel(queue: JobQueue, handle: string): AdminReply {
  const effects = queue.cancel(handle);
  return effects
    ? say("OK\r\n", effects)
    : say(`ERR ${queue.jobs.find(handle) ? "JOB_RUNNING" : "UNKNOWN_JOB"}\r\n`);
}

function create(queue: JobQueue, name: string): AdminReply {
  const created = queue.functions.obtain(Buffer.from(name, "latin1"));
  if (typeof created !== "string") return say("OK\r\n");
  return say(`ERR INVALID_ARGUMENTS ${created.replaceAll(" ", "+")}\r\n`);
}

function drop(queue: JobQueue, name: string): AdminReply {
  const outcome = queue.functions.drop(Buffer.from(name, "latin1"));
  if (outcome === "dropped") return say("OK\r\n");
  if (outcome === "unknown") return say("ERR function not found\r\n");
  return say("ERR there are still connected workers or executing clients\r\n");
}

/** Without a count, or with a negative one, only the server's own limit applies. */
function limit(queue: JobQueue, name: string, count: string): AdminReply {
  if (!/^(-?\d{1,9})?$/.test(count)) return incomplete("maxqueue FUNCTION [COUNT]");
  const entry = queue.functions.get(Buffer.from(name, "latin1"));
  if (!entry) return say("ERR function not found\r\n");
  entry.maxQueue = count === "" || count.startsWith("-") ? undefined : Number(count);
  return say("OK\r\n");
}
