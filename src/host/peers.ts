/** Finds out who is at the other end of a connection, so that builds can be refused. Source: sock_diag(7), linux/inet_diag.h. */
import { BlockList, isIPv4, type Socket } from "node:net";
import { networkInterfaces } from "node:os";
import type { Log } from "#/lib/log.ts";
import { addressBytes } from "#/lib/subnet.ts";
import { type Account, untrustedAccounts } from "./accounts.ts";
import { loadSystemCalls, type SystemCalls } from "./syscalls.ts";

/** Whether a connection that was just accepted comes from a build. */
export type BuildCheck = (socket: Socket) => boolean;

/** The check for this box; without build users there is nobody to refuse. */
export async function newBuildCheck(log: Pick<Log, "warn">): Promise<BuildCheck> {
  const accounts = await untrustedAccounts();
  return accounts.length === 0 ? () => false : buildCheck(accounts, log);
}

/**
 * Asks the kernel who owns the socket at the other end, by its exact four-tuple. A connection from this box whose owner the kernel
 * can't name is refused, too: it may come from a build that has closed its end.
 * @internal
 */
export function buildCheck(
  accounts: readonly Pick<Account, "name" | "uid">[],
  log: Pick<Log, "warn">,
  calls = loadSystemCalls(),
): BuildCheck {
  const names = new Map(accounts.map(({ uid, name }) => [uid, name]));
  // Once each: a build may try as often as it likes.
  const logged = new Set<string>();
  return (socket) => {
    const owner = calls && ownerOfPeer(calls, socket);
    const who = owner === undefined ? "an unknown user of this box" : names.get(owner);
    if (who === undefined || (owner === undefined && !isFromHere(socket))) return false;
    const message = `refused a connection from ${who} to port ${socket.localPort}: builds may not use it`;
    if (!logged.has(message)) log.warn({ port: socket.localPort }, message);
    logged.add(message);
    return true;
  };
}

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

/** Also true when the peer has gone and has no address any more. */
function isFromHere({ remoteAddress, localAddress }: Socket): boolean {
  if (remoteAddress === undefined) return true;
  const peer = plain(remoteAddress);
  if (peer === plain(localAddress ?? "") || loopback.check(peer, isIPv4(peer) ? "ipv4" : "ipv6")) return true;
  return Object.values(networkInterfaces()).some((addresses) =>
    addresses?.some(({ address }) => address === peer),
  );
}

/** An IPv4 peer of a dual-stack socket as IPv4, and without an interface's name. */
const plain = (address: string): string => address.replace(/^::ffff:(?=\d+\.)/i, "").replace(/%.*$/, "");

const netlinkSockDiag = 4;
const sockDiagByFamily = 20;
const nlmFRequest = 1;
const headerSize = 16;
/** From the start of struct inet_diag_req_v2 to its struct inet_diag_sockid. */
const requestId = headerSize + 8;
/** The same in the answer's struct inet_diag_msg. */
const answerId = headerSize + 4;
const idSize = 48;
const tcpListen = 10;

/** The user that owns the socket at the other end; undefined if it isn't on this box, or has no owner any more. */
function ownerOfPeer(calls: SystemCalls, socket: Socket): number | undefined {
  const { remoteAddress, remotePort, localAddress, localPort } = socket;
  if (!remoteAddress || !remotePort || !localAddress || !localPort) return undefined;
  const peer = plain(remoteAddress);
  const family = isIPv4(peer) ? 2 : 10;
  const request = Buffer.alloc(requestId + idSize);
  request.writeUInt32LE(request.length, 0);
  request.writeUInt16LE(sockDiagByFamily, 4);
  request.writeUInt16LE(nlmFRequest, 6);
  request.set([family, 6 /* IPPROTO_TCP */], headerSize);
  request.writeUInt32LE(0xffffffff, headerSize + 4);
  // Seen from there: its own address is the source.
  request.writeUInt16BE(remotePort, requestId);
  request.writeUInt16BE(localPort, requestId + 2);
  request.set(addressBytes(peer), requestId + 4);
  request.set(addressBytes(plain(localAddress)), requestId + 20);
  // INET_DIAG_NOCOOKIE
  request.fill(0xff, requestId + 40);
  const answer = calls.askNetlink(netlinkSockDiag, request);
  if (!answer || answer.length < answerId + idSize + 20 || answer.readUInt16LE(4) !== sockDiagByFamily)
    return undefined;
  // Where there is no such connection, the kernel answers with a socket that listens at the peer's address.
  if (answer[headerSize + 1] === tcpListen || answer.readUInt16BE(answerId + 2) !== localPort)
    return undefined;
  const uid = answer.readUInt32LE(answerId + idSize + 12);
  const inode = answer.readUInt32LE(answerId + idSize + 16);
  // A closed socket that still sends has no inode, and the kernel calls root its owner.
  return inode === 0 ? undefined : uid;
}
