/** The queued jobs of one function and priority, in the order of their submits. */

/** `order` counts up with each submit. */
interface Ordered {
  readonly order: number;
}

interface Link<Item> {
  readonly item: Item;
  before: Link<Item> | undefined;
  after: Link<Item> | undefined;
}

/** The queued jobs of one function and priority, sorted by `order`; any of them can be taken out at once. */
export class OrderedList<Item extends Ordered> {
  readonly #links = new Map<Item, Link<Item>>();
  #head: Link<Item> | undefined;
  #tail: Link<Item> | undefined;

  get size(): number {
    return this.#links.size;
  }

  /** The oldest. */
  get first(): Item | undefined {
    return this.#head?.item;
  }

  /** A new job goes to the end at once; one that comes back finds its place near the head. */
  add(item: Item): void {
    const atEnd = !this.#tail || this.#tail.item.order < item.order;
    let after = atEnd ? undefined : this.#head;
    while (after && after.item.order < item.order) after = after.after;
    const before = after ? after.before : this.#tail;
    const link: Link<Item> = { item, before, after };
    if (before) before.after = link;
    else this.#head = link;
    if (after) after.before = link;
    else this.#tail = link;
    this.#links.set(item, link);
  }

  remove(item: Item): void {
    const link = this.#links.get(item);
    if (!link) return;
    if (link.before) link.before.after = link.after;
    else this.#head = link.after;
    if (link.after) link.after.before = link.before;
    else this.#tail = link.before;
    this.#links.delete(item);
  }
}
