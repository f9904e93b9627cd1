/** The page for what can't be shown. */
import { html } from "./html.ts";
import { layout } from "./layout.ts";
import type { Frame } from "./models.ts";

/**
 * @param status of HTTP
 * @param text one sentence for people: what is wrong
 */
export function errorPage(status: number, text: string, frame?: Frame): string {
  return layout({
    title: `${status}`,
    ...(frame && { frame }),
    main: html`<h1>${status}</h1>
<p>${text}</p>
<p><a href="/">To the overview</a></p>`,
  });
}
