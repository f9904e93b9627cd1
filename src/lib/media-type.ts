/** The media types of artifacts: only those that a browser never executes. hono's own table has HTML, SVG and scripts. */
import { extname } from "node:path";

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
