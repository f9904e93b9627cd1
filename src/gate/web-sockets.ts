/** Requests that become WebSockets: refused like others for as long as they are HTTP, closed with the gate. */
import { type IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { type WebSocket, WebSocketServer } from "ws";
import { maxTunnelBytes, tunnelProtocol } from "#/exchange/tunnel.ts";

/** Of a peer that shows no sign of life. */
const pingIntervalMs = 15_000;

export class WebSockets implements AsyncDisposable {
  readonly #server = new WebSocketServer({
    ...{ noServer: true, clientTracking: true, perMessageDeflate: false, maxPayload: maxTunnelBytes },
    handleProtocols: (offered) => offered.has(tunnelProtocol) && tunnelProtocol,
  });
  readonly #alive = new WeakSet<WebSocket>();
  readonly #pings: NodeJS.Timeout;

  constructor() {
    this.#pings = setInterval(() => this.#ping(), pingIntervalMs);
    this.#pings.unref();
  }

  /** Other upgrades, such as to HTTP/2, are ignored, as RFC 9110 (7.8) allows. */
  static isAsked({ headers, method }: IncomingMessage): boolean {
    return method === "GET" && headers.upgrade?.toLowerCase() === "websocket";
  }

  /** The HTTP answer to a request, which ends its connection, and the other way. */
  static responseTo(request: IncomingMessage, socket: Socket): ServerResponse {
    const response = new ServerResponse(request);
    response.assignSocket(socket);
    response.shouldKeepAlive = false;
    // The server's timeouts no longer watch it, and the client may never close its side.
    response.on("finish", () => socket.destroySoon());
    return response;
  }

  accept(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<WebSocket> {
    const accepted = Promise.withResolvers<WebSocket>();
    socket.once("close", () => accepted.reject(new Error("the client has gone")));
    this.#server.handleUpgrade(request, socket, head, (webSocket) => {
      this.#alive.add(webSocket);
      // At once: a malformed frame that came with the request is read before the promise has its turn.
      webSocket.on("pong", () => this.#alive.add(webSocket)).on("error", () => {});
      accepted.resolve(webSocket);
    });
    return accepted.promise;
  }

  #ping(): void {
    for (const webSocket of this.#server.clients) {
      if (!this.#alive.delete(webSocket)) webSocket.terminate();
      else webSocket.ping();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#pings);
    // Service Restart, RFC 6455 and its registry.
    for (const webSocket of this.#server.clients) webSocket.close(1012);
  }

  terminate(): void {
    for (const webSocket of this.#server.clients) webSocket.terminate();
  }
}
