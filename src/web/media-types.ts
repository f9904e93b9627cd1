/** How artifacts are served: only with media types that a browser never executes, and always as downloads. */
import { extname } from "node:path";

/** An allowlist; hono's own table has HTML, SVG and scripts. */
const types: ReadonlyMap<string, string> = new Map([
  [".txt", "text/plain; charset=utf-8"],
  [".log", "text/plain; charset=utf-8"],
  [".csv", "text/csv; charset=utf-8"],
  [".json", "application/json"],
  [".xml", "application/xml"],
  [".png", "image/png"],
  [".jpg", "image/jpeg"],
  [".jpeg", "image/jpeg"],
  [".gif", "image/gif"],
  [".webp", "image/webp"],
  [".pdf", "application/pdf"],
  [".zip", "application/zip"],
  [".gz", "application/gzip"],
  [".tgz", "application/gzip"],
  [".xz", "application/x-xz"],
  [".zst", "application/zstd"],
  [".tar", "application/x-tar"],
]);

export function artifactType(path: string): string {
  return types.get(extname(path).toLowerCase()) ?? "application/octet-stream";
}

/**
 * The Content-Disposition of a download (RFC 6266), with the name in ASCII for old clients and in UTF-8 (RFC 8187). Characters
 * that reverse the direction of text are replaced, because they could hide the real extension.
 */
export function attachment(path: string): string {
  const name = (path.split("/").at(-1) ?? "")
    .replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, "_")
    .replace(/\p{Cs}/gu, "_");
  const ascii = name.replace(/[^\x20-\x7e]|["\\%;]/g, "_");
  const encoded = encodeURIComponent(name).replace(
    /['()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `attachment; filename="${ascii}"; filename*=UTF-8''${encoded}`;
}
