/** Opens a connection to a job server, over TCP or TLS. */
import { once } from "node:events";
import { isIP, type Socket } from "node:net";
import { getCACertificates, type TLSSocket, connect as tlsConnect } from "node:tls";
import { type Address, formatAddress } from "#/lib/address.ts";
import { connectTcp } from "#/lib/tcp.ts";
import { Connection } from "./connection.ts";
import { connectError, connectTimeout } from "./errors.ts";

/** PEM contents, not paths. An empty object is TLS with the CAs that the system trusts. */
interface TlsOptions {
  /** The CAs that may have signed the server's certificate, in place of the system's. */
  readonly ca?: string | Buffer;
  /** This side's certificate and key, for servers that demand one. */
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
}

export interface ServerAddress extends Address {
  readonly tls?: TlsOptions;
}

export interface DialOptions {
  /** Gives up with its reason; a signal that times out gives the same error as `timeoutMs`. */
  readonly signal?: AbortSignal;
  /** For name, TCP and TLS together. */
  readonly timeoutMs?: number;
  /** Accept lines of the admin protocol too. */
  readonly text?: boolean;
}

export type Dial = (address: ServerAddress, options?: DialOptions) => Promise<Connection>;

/**
 * Connects. The server's certificate and its name are always checked.
 *
 * @throws GearmanError UNREACHABLE or TLS; the reason of an aborted signal, unless that is a timeout
 */
export const dial: Dial = async (address, { signal, timeoutMs = 10_000, text = false } = {}) => {
  const server = formatAddress(address);
  const timeout = AbortSignal.timeout(timeoutMs);
  const giveUp = signal ? AbortSignal.any([signal, timeout]) : timeout;
  let phase: "tcp" | "tls" = "tcp";
  try {
    const tcp = await connectTcp(address, giveUp);
    if (!address.tls) return new Connection(tcp, { server, text });
    phase = "tls";
    return new Connection(await startTls(tcp, address.host, address.tls, giveUp), { server, text });
  } catch (error) {
    if (timeout.aborted || isTimeout(signal?.reason)) throw connectTimeout(server, phase);
    signal?.throwIfAborted();
    throw connectError(server, error, phase);
  }
};

async function startTls(
  socket: Socket,
  host: string,
  options: TlsOptions,
  signal: AbortSignal,
): Promise<TLSSocket> {
  let secure: TLSSocket | undefined;
  try {
    const ca = options.ca ?? getCACertificates("system");
    const name = isIP(host) ? {} : { servername: host };
    secure = tlsConnect({ ...options, ca, socket, host, ...name, rejectUnauthorized: true });
    await once(secure, "secureConnect", { signal });
    return secure;
  } catch (error) {
    for (const opened of [secure, socket]) opened?.on("error", () => {}).destroy();
    throw error;
  }
}

const isTimeout = (reason: unknown): boolean =>
  reason instanceof DOMException && reason.name === "TimeoutError";
