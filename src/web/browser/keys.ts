/** Single-key shortcuts. `?` lists them and can turn them off (WCAG 2, 2.1.4). */

export interface Shortcut {
  readonly key: string;
  /** What it does, in a few words. */
  readonly text: string;
  run(): void;
}

const setting = "labgear-shortcuts-off";

/** All shortcuts of the page. */
export class Shortcuts {
  readonly #all: Shortcut[] = [];
  #dialog: HTMLDialogElement | undefined;

  constructor() {
    document.addEventListener("keydown", (event) => this.#onKey(event));
  }

  add(...shortcuts: readonly Shortcut[]): void {
    this.#all.push(...shortcuts);
  }

  #onKey(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const { target } = event;
    if (target instanceof HTMLElement && target.closest("input, textarea, select, dialog")) return;
    if (event.key === "?") {
      event.preventDefault();
      this.help();
      return;
    }
    if (localStorage.getItem(setting) !== null) return;
    const shortcut = this.#all.find(({ key }) => key === event.key);
    if (!shortcut) return;
    event.preventDefault();
    shortcut.run();
  }

  help(): void {
    this.#dialog ??= this.#newDialog();
    this.#dialog.showModal();
  }

  #newDialog(): HTMLDialogElement {
    const dialog = document.createElement("dialog");
    dialog.setAttribute("aria-labelledby", "shortcuts");
    const title = element("h2", "Keyboard shortcuts");
    title.id = "shortcuts";
    const list = document.createElement("dl");
    for (const { key, text } of [...this.#all, { key: "?", text: "show this list" }]) {
      const term = document.createElement("dt");
      term.append(element("kbd", key === " " ? "Space" : key));
      list.append(term, element("dd", text));
    }
    const label = element("label", " Enable single-key shortcuts");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = localStorage.getItem(setting) === null;
    box.addEventListener("change", () => {
      if (box.checked) localStorage.removeItem(setting);
      else localStorage.setItem(setting, "1");
    });
    label.prepend(box);
    const close = element("button", "Close");
    close.addEventListener("click", () => dialog.close());
    dialog.append(title, list, label, close);
    document.body.append(dialog);
    return dialog;
  }
}

function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  text: string,
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  element.textContent = text;
  return element;
}
