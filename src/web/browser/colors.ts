/** Terminal colours: sixteen defined in the style sheet, and all others as RGB. */

/** One of the sixteen, or RGB from 0 to 255. */
export type Color = number | readonly [red: number, green: number, blue: number];

/** @param index in the 256-colour palette: sixteen colours, a 6 × 6 × 6 cube, 24 greys */
export function paletteColor(index: number): Color | undefined {
  if (!(index >= 0 && index <= 255)) return undefined;
  if (index < 16) return index;
  if (index >= 232) {
    const grey = 8 + (index - 232) * 10;
    return [grey, grey, grey];
  }
  const level = (value: number): number => (value === 0 ? 0 : 55 + value * 40);
  const at = index - 16;
  return [level(Math.floor(at / 36)), level(Math.floor(at / 6) % 6), level(at % 6)];
}

/** The luminance of the console's background, which console.css sets. */
const background = luminance([0x10, 0x14, 0x18]);

/** Lightens a colour until it is readable on the console's background (WCAG 2, AA). */
export function readable(color: readonly [number, number, number]): readonly [number, number, number] {
  for (let mixed = color, step = 0; ; step++) {
    if ((luminance(mixed) + 0.05) / (background + 0.05) >= 4.5 || step >= 10) return mixed;
    const [red, green, blue] = mixed;
    mixed = [lighter(red), lighter(green), lighter(blue)];
  }
}

const lighter = (value: number): number => Math.round(value + (255 - value) * 0.2);

/** Relative luminance (WCAG 2). */
function luminance([red, green, blue]: readonly [number, number, number]): number {
  return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
}

function linear(value: number): number {
  const part = value / 255;
  return part <= 0.040_45 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
}
