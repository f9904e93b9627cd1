/** Changes an element into another one but keeps equal parts, so focus, selection and open details survive. */

/** Added by the scripts, not by the server. */
const added = ".toolbar, .scroller, .tail";

export function morph(from: Element, to: Element): void {
  copyAttributes(from, to);
  const wanted = childrenOf(to);
  const later = new Set(wanted.map(keyOf).filter((key) => key !== ""));
  const present = childrenOf(from);
  for (const child of wanted) {
    const key = keyOf(child);
    later.delete(key);
    // A named element is matched wherever it is, and only with the same name.
    const found = present.findIndex((old) => (key === "" ? !later.has(keyOf(old)) : keyOf(old) === key));
    const old = present[found];
    if (!old || (key === "" && found > 0)) {
      from.insertBefore(document.importNode(child, true), present[0] ?? null);
      continue;
    }
    present.splice(found, 1);
    if (found > 0) from.insertBefore(old, present[0] ?? null);
    if (old instanceof Element && child instanceof Element && old.localName === child.localName)
      morph(old, child);
    else if (old.nodeType !== child.nodeType || old instanceof Element)
      old.replaceWith(document.importNode(child, true));
    else if (old.nodeValue !== child.nodeValue) old.nodeValue = child.nodeValue;
  }
  for (const old of present) old.remove();
}

function copyAttributes(from: Element, to: Element): void {
  // Only the browser knows which details are open, and that a console is scripted.
  const isLocal = (name: string): boolean =>
    name === "open" || (name === "class" && from.classList.contains("scripted"));
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && !isLocal(name)) from.removeAttribute(name);
  }
  for (const { name, value } of to.attributes) {
    if (!isLocal(name) && from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
}

function childrenOf(parent: Element): ChildNode[] {
  return [...parent.childNodes].filter((node) => !(node instanceof Element && node.matches(added)));
}

/** The name of a section or a row; empty if it has none. */
function keyOf(node: Node): string {
  if (!(node instanceof Element)) return "";
  return node.id || (node.getAttribute("data-key") ?? "");
}
