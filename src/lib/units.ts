/** Durations, sizes and shares as people write them, and back. */

const millisecondsIn: readonly (readonly [unit: string, milliseconds: number])[] = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1000],
  ["ms", 1],
];

const durationPattern = /^(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?$/;

/**
 * @param text such as "30m", "1h30m", "500ms": whole numbers with d, h, m, s or ms, the largest unit first
 * @returns milliseconds; undefined if it is no duration, or too long to be exact
 */
export function parseDuration(text: string): number | undefined {
  const match = durationPattern.exec(text);
  if (text === "" || !match) return undefined;
  const total = millisecondsIn.reduce(
    (sum, [, factor], index) => sum + Number(match[index + 1] ?? 0) * factor,
    0,
  );
  return Number.isSafeInteger(total) ? total : undefined;
}

/** @returns a configured duration as parseDuration() reads it: "1h30m", "2m5s", "350ms" */
export function formatDuration(milliseconds: number): string {
  let rest = Math.round(milliseconds);
  let text = "";
  for (const [unit, factor] of millisecondsIn) {
    const count = Math.floor(rest / factor);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * factor;
  }
  return text === "" ? "0s" : text;
}

/** @returns the same, rounded to seconds */
export function formatSeconds(milliseconds: number): string {
  return formatDuration(Math.round(milliseconds / 1000) * 1000);
}

/** @returns a measured duration, as exact as people need it: "850 ms", "12.3 s", "4 min 05 s", "3 h 07 min", "2 d 4 h" */
export function formatElapsed(milliseconds: number): string {
  if (milliseconds < 1000) return `${Math.max(0, Math.round(milliseconds))} ms`;
  const two = (value: number): string => String(value).padStart(2, "0");
  const tenths = Math.round(milliseconds / 100);
  if (tenths < 600) return `${(tenths / 10).toFixed(1)} s`;
  const s = Math.round(milliseconds / 1000);
  if (s < 3600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`;
  const min = Math.floor(s / 60);
  if (min < 24 * 60) return `${Math.floor(min / 60)} h ${two(min % 60)} min`;
  return `${Math.floor(min / 1440)} d ${Math.floor((min % 1440) / 60)} h`;
}

const binaryUnits = ["KiB", "MiB", "GiB", "TiB"] as const;

const bytesIn: ReadonlyMap<string, number> = new Map([
  ["", 1],
  ["B", 1],
  ["kB", 1e3],
  ["KB", 1e3],
  ["MB", 1e6],
  ["GB", 1e9],
  ["TB", 1e12],
  ...binaryUnits.map((unit, index): [string, number] => [unit, 1024 ** (index + 1)]),
]);

/**
 * @param text such as "2GiB" (1024), "4GB" (1000), "1.5GiB", or plain bytes
 * @returns bytes, rounded down; undefined if it is no size, or too large to be exact
 */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)([A-Za-z]*)$/.exec(text);
  const factor = bytesIn.get(match?.[2] ?? "");
  if (!match || factor === undefined || (factor === 1 && text.includes("."))) return undefined;
  const bytes = Math.floor(Number(match[1]) * factor);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/**
 * @param bytes zero or more
 * @returns binary units with one decimal at most: "2GiB", "1.5MiB", "512B"
 */
export function formatSize(bytes: number): string {
  let value = Math.round(bytes);
  if (value < 1024) return `${value}B`;
  let unit: string = binaryUnits[0];
  value = bytes / 1024;
  for (const next of binaryUnits.slice(1)) {
    // 1023.95 would be rounded to 1024.
    if (value < 1023.95) break;
    value /= 1024;
    unit = next;
  }
  return `${Math.round(value * 10) / 10}${unit}`;
}

/**
 * @param text a share of one processor, such as "200%"
 * @returns processors: 2 for "200%"; undefined if it is no share, or zero
 */
export function parseShare(text: string): number | undefined {
  const match = /^(\d{1,6})%$/.exec(text);
  const share = Number(match?.[1] ?? 0) / 100;
  return share > 0 ? share : undefined;
}
