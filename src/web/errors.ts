/** The errors of the pages and the API. */
import { CodedError } from "#/lib/errors.ts";

/** A request that can't be answered as asked. The message goes to the client. */
export class RequestError extends CodedError<"REQUEST"> {
  override readonly name = "RequestError";
  readonly status: 400 | 404 | 416;

  constructor(status: RequestError["status"], message: string) {
    super("REQUEST", message);
    this.status = status;
  }
}

/** The server can't listen on its address. */
export class ListenError extends CodedError<"LISTEN"> {
  override readonly name = "ListenError";

  constructor(message: string, options?: ErrorOptions) {
    super("LISTEN", message, options);
  }
}
