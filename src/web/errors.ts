/** The errors of the pages and the API. */

/** A request that can't be answered as it was meant. */
export class RequestError extends Error {
  readonly code = "REQUEST";
  readonly status: 400 | 404 | 416 | 503;

  /** @param message one line for whoever asked */
  constructor(status: RequestError["status"], message: string) {
    super(message);
    this.name = "RequestError";
    this.status = status;
  }
}

/** The address can't be listened on. */
export class ListenError extends Error {
  readonly code = "LISTEN";

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ListenError";
  }
}
