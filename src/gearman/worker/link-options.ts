/** What a link needs, and whom it tells. */
import type { Clock } from "../wire/clock.ts";
import type { Dial, ServerAddress } from "../wire/dial.ts";
import type { GearmanError } from "../wire/errors.ts";
import type { AssignedJob } from "./job.ts";

/** The worker that a link belongs to. */
interface LinkOwner {
  /** The functions to be registered. */
  readonly wanted: ReadonlySet<string>;
  /** The link's state or registration changed. */
  changed(): void;
  /** The server has taken the registration: the link serves it. */
  up(): void;
  /** The connection went, or couldn't be made; another try follows unless the link is closed. */
  down(reason: GearmanError): void;
  assigned(job: AssignedJob): void;
  /** The server sent an ERROR, or something that no state expects; the link goes on. */
  oddity(text: string): void;
}

export interface LinkOptions {
  readonly address: ServerAddress;
  readonly clientId: string;
  readonly owner: LinkOwner;
  readonly dial: Dial;
  readonly clock: Clock;
  readonly random: () => number;
  /** Milliseconds that the server may take to answer a registration or a GRAB_JOB. */
  readonly answerTimeout: number;
}
