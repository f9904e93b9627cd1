/** The admin text protocol: one line in, the answer out; no I/O. */
import { type Job, type JobFunction, type Member, queuedCount } from "./jobs.ts";
import type { Effect, JobQueue } from "./queue.ts";

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
 * Handles one admin line. Source: PROTOCOL of gearmand, "Administrative Protocol", and gearmand 1.1.20 as observed. Two
 * differences are on purpose: `cancel job` refuses a running job, since no packet stops its worker (after an OK, Zuul
 * would never send its stop:), and `shutdown` is refused from the network.
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
