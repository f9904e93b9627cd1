/** Times in the time zone of the browser. */

const two = (value: number): string => String(value).padStart(2, "0");

/** The time of day with milliseconds. */
export function clock(ms: number): string {
  const at = new Date(ms);
  const day = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":");
  return `${day}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

/** Such as "2026-11-22 04:18:49". */
function dateAndTime(at: Date): string {
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${[at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":")}`;
}

/** A duration in its largest unit, as in the server's format.ts. */
function roughly(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.round(s / 60)} min`;
  if (s < 36 * 3600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} d`;
}

/** Rewrites all times below an element: in the local time zone, how long ago, how much longer. */
export function localTimes(root: ParentNode): void {
  for (const element of root.querySelectorAll("time")) {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const text = dateAndTime(at);
    if ("ago" in element.dataset) {
      element.title = text;
      set(element, `${roughly(Date.now() - at.getTime())} ago`);
    } else set(element, text);
  }
  for (const element of root.querySelectorAll<HTMLElement>("[data-since]")) {
    set(element, `for ${roughly(Date.now() - Date.parse(element.dataset.since ?? ""))}`);
  }
  for (const element of root.querySelectorAll<HTMLElement>("[data-until]")) {
    const left = Date.parse(element.dataset.until ?? "") - Date.now();
    set(
      element,
      left > 0 ? `about ${roughly(left)} left` : `${roughly(-left)} over the usual ${element.dataset.usual}`,
    );
  }
}

function set(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}
