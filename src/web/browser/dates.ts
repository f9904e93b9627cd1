/** Times for people, in the browser's time zone. Without the DOM: the server uses it too. */

const two = (value: number): string => String(value).padStart(2, "0");

/** The time of day with milliseconds. */
export function clock(ms: number): string {
  const at = new Date(ms);
  const day = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":");
  return `${day}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

/** Such as "2026-11-22 04:18:49". */
export function dateAndTime(at: Date): string {
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${[at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":")}`;
}

/** A duration in its largest unit, for estimates and for the past. */
export function roughly(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.round(s / 60)} min`;
  if (s < 36 * 3600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} d`;
}
