/** The toolbar above a console (follow, times, search, help), and what screen readers announce. */

export interface Toolbar {
  readonly element: HTMLElement;
  readonly follow: HTMLButtonElement;
  readonly times: HTMLButtonElement;
  /** Hidden while there are no sections. */
  readonly fold: HTMLButtonElement;
  /** Hidden once there is nothing to wait for. */
  readonly notify: HTMLButtonElement;
  readonly input: HTMLInputElement;
  readonly count: HTMLElement;
}

export interface ToolbarActions {
  follow(): void;
  times(): void;
  fullScreen(): void;
  /** Asks for a notification when the build ends. */
  notify(): void;
  /** Folds or unfolds all sections. */
  fold(): void;
  /** Absent if there is no search. */
  readonly search?: {
    setQuery(query: string): void;
    step(by: 1 | -1): void;
    leave(): void;
  };
  /** Goes to the next error; absent if errors can't be looked for. */
  error?(): void;
  help(): void;
}

export function newToolbar(actions: ToolbarActions): Toolbar {
  const element = document.createElement("div");
  element.className = "toolbar";
  element.setAttribute("role", "toolbar");
  element.setAttribute("aria-label", "Console");
  const follow = button("Follow", "Follow new output (f)", actions.follow);
  const times = button("Times", "Show when each line arrived (t)", actions.times);
  const fold = button("Fold", "Fold or unfold all sections (z)", actions.fold);
  fold.hidden = true;
  follow.setAttribute("aria-pressed", "true");
  times.setAttribute("aria-pressed", "false");
  const input = document.createElement("input");
  const count = document.createElement("span");
  count.className = "count";
  count.setAttribute("role", "status");
  element.append(follow, times, fold);
  const { search } = actions;
  if (search) {
    input.type = "search";
    input.placeholder = "Search";
    input.setAttribute("aria-label", "Search the console");
    input.addEventListener("input", () => search.setQuery(input.value));
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") search.step(event.shiftKey ? -1 : 1);
      else if (event.key === "Escape") search.leave();
      else return;
      event.preventDefault();
    });
    const previous = button("↑", "Previous match (N)", () => search.step(-1));
    const next = button("↓", "Next match (n)", () => search.step(1));
    element.append(input, previous, next);
  }
  if (actions.error) element.append(button("Error", "Next error (e)", actions.error));
  if (search) element.append(count);
  const notify = button("Notify", "Notify me when the build has ended", actions.notify);
  notify.setAttribute("aria-pressed", "false");
  element.append(notify, button("Full screen", "Full screen (F)", actions.fullScreen));
  element.append(button("?", "Keyboard shortcuts (?)", actions.help));
  return { element, follow, times, fold, notify, input, count };
}

function button(text: string, title: string, onClick: () => void): HTMLButtonElement {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.title = title;
  if (text.length === 1) button.setAttribute("aria-label", title);
  button.addEventListener("click", onClick);
  return button;
}

/** Between two announcements. */
const quietMs = 5000;

/** @returns a function that announces a text; of those that follow too soon, only the last is announced */
export function newAnnouncer(): (text: string) => void {
  const region = document.createElement("p");
  region.className = "hidden";
  region.setAttribute("role", "status");
  document.body.append(region);
  let next: string | undefined;
  let isQuiet = false;
  const announce = (text: string): void => {
    if (isQuiet) {
      next = text;
      return;
    }
    region.textContent = text;
    isQuiet = true;
    setTimeout(() => {
      isQuiet = false;
      const waiting = next;
      next = undefined;
      if (waiting !== undefined) announce(waiting);
    }, quietMs);
  };
  return announce;
}
