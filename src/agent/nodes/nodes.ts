/** All nodes of the box: the host and the devices. What the box lacks, each of them lacks. */
import type { Hold, Node } from "./node.ts";

export class Nodes implements AsyncDisposable {
  readonly #nodes: Node[] = [];
  /** What holds the whole box, and so a node that comes later, too. */
  readonly #holds = new Map<Hold, string>();

  /** The host first. */
  get all(): readonly Node[] {
    return this.#nodes;
  }

  find(name: string): Node | undefined {
    return this.#nodes.find((node) => node.name === name);
  }

  add(node: Node): void {
    this.#nodes.push(node);
    for (const [hold, reason] of this.#holds) node.hold(hold, reason);
  }

  /** Takes a node out of service; resolves when its last build has ended and its connections are closed. */
  async remove(node: Node): Promise<void> {
    this.#nodes.splice(this.#nodes.indexOf(node), 1);
    await node.retire();
  }

  /** The box takes no new builds for this reason; those that run go on. */
  hold(hold: Hold, reason: string): void {
    this.#holds.set(hold, reason);
    for (const node of this.#nodes) node.hold(hold, reason);
  }

  release(hold: Hold): void {
    this.#holds.delete(hold);
    for (const node of this.#nodes) node.release(hold);
  }

  isHeld(hold: Hold): boolean {
    return this.#holds.has(hold);
  }

  /** Resolves when no node has a build or may still be handed one; lasting while they are held. Rejects with the signal's reason. */
  async settled(signal?: AbortSignal): Promise<void> {
    await Promise.all(this.#nodes.map((node) => node.settled(signal)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#nodes.map((node) => node[Symbol.asyncDispose]()));
  }
}
