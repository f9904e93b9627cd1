/** Opens a connection to a job server, over TCP or TLS. */
import { once } from "node:events";
import { connect, isIP, type Socket } from "node:net";
import { getCACertificates, type TLSSocket, connect as tlsConnect } from "node:tls";
import { watchPeer } from "#/lib/tcp.ts";
import { Connection } from "./connection.ts";
import { GearmanError } from "./errors.ts";
import { connectFailure } from "./failures.ts";

/** PEM contents, not paths. An empty object is TLS with the CAs that the system trusts. */
interface TlsOptions {
  /** The CAs that may have signed the server's certificate, in place of the system's. */
  readonly ca?: string | Buffer;
  /** This side's certificate and key, for servers that demand one. */
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
}

export interface ServerAddress {
  readonly host: string;
  readonly port: number;
  readonly tls?: TlsOptions;
}

export interface DialOptions {
  /** Aborting it gives up, with its reason unless that is a timeout. It has no say once the connection stands. */
  readonly signal?: AbortSignal;
  /** Milliseconds for name, TCP and TLS together. */
  readonly timeout?: number;
  /** Accept lines of the admin protocol too. */
  readonly text?: boolean;
}

export type Dial = (address: ServerAddress, options?: DialOptions) => Promise<Connection>;

/** Host and port as people write them. */
export function serverName({ host, port }: ServerAddress): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Where job servers listen unless told otherwise. */
const defaultPort = 4730;

/**
 * Reads `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`.
 * @throws TypeError that says what is wrong
 */
export function parseAddress(text: string): ServerAddress {
  const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([^\s:[\]/]+))(?::([0-9]{1,5}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3] ?? defaultPort);
  if (host === undefined) throw new TypeError(`"${text}" is no server address: expected HOST or HOST:PORT`);
  if (port < 1 || port > 65_535) throw new TypeError(`"${text}": the port must be between 1 and 65535`);
  return { host, port };
}

/**
 * Connects. The server's certificate and its name are always checked.
 *
 * @throws GearmanError UNREACHABLE or TLS, with host and port in the text; the reason of an aborted signal, unless that is a timeout
 */
export const dial: Dial = async (address, options = {}) => {
  const server = serverName(address);
  const timeout = AbortSignal.timeout(options.timeout ?? 10_000);
  const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout;
  const sockets: Socket[] = [];
  let phase: "tcp" | "tls" = "tcp";
  try {
    signal.throwIfAborted();
    const tcp = connect({ host: address.host, port: address.port, noDelay: true });
    sockets.push(tcp);
    await once(tcp, "connect", { signal });
    watchPeer(tcp);
    if (address.tls) {
      phase = "tls";
      const secure = startTls(tcp, address.host, address.tls);
      sockets.push(secure);
      await once(secure, "secureConnect", { signal });
    }
    return new Connection(sockets.at(-1) ?? tcp, { server, text: options.text ?? false });
  } catch (error) {
    for (const socket of sockets) socket.on("error", () => {}).destroy();
    const isLate = timeout.aborted || isTimeout(options.signal?.reason);
    if (!isLate) options.signal?.throwIfAborted();
    throw isLate ? lateFailure(server, phase) : connectFailure(server, error, phase);
  }
};

function startTls(socket: Socket, host: string, options: TlsOptions): TLSSocket {
  return tlsConnect({
    socket,
    host,
    ...(isIP(host) ? {} : { servername: host }),
    rejectUnauthorized: true,
    ca: options.ca ?? getCACertificates("system"),
    ...(options.cert === undefined ? {} : { cert: options.cert }),
    ...(options.key === undefined ? {} : { key: options.key }),
  });
}

const isTimeout = (reason: unknown): boolean =>
  reason instanceof DOMException && reason.name === "TimeoutError";

function lateFailure(server: string, phase: "tcp" | "tls"): GearmanError {
  if (phase === "tcp")
    return new GearmanError("UNREACHABLE", `${server} can't be reached: it doesn't answer`);
  return new GearmanError("TLS", `TLS to ${server}: no answer to the handshake: does that port speak TLS?`);
}
