/** Media types of artifacts, by their names: those that a browser can't take for anything that runs. */

const types: Readonly<Record<string, string>> = {
  txt: "text/plain; charset=utf-8",
  log: "text/plain; charset=utf-8",
  csv: "text/csv; charset=utf-8",
  json: "application/json",
  xml: "application/xml",
  png: "image/png",
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  gif: "image/gif",
  webp: "image/webp",
  pdf: "application/pdf",
  zip: "application/zip",
  gz: "application/gzip",
  tgz: "application/gzip",
  xz: "application/x-xz",
  zst: "application/zstd",
  tar: "application/x-tar",
};

/** @param path of the artifact; what isn't known is a stream of bytes */
export function artifactType(path: string): string {
  const [, extension = ""] = /\.([a-z0-9]{1,8})$/i.exec(path) ?? [];
  return Object.hasOwn(types, extension.toLowerCase())
    ? (types[extension.toLowerCase()] ?? "")
    : "application/octet-stream";
}

/**
 * The Content-Disposition of a download (RFC 6266): the name for old programs in ASCII, and as it is in UTF-8 (RFC 8187),
 * without marks that turn the direction of text around and so hide what kind of file it is.
 */
export function attachment(path: string): string {
  const name = (path.split("/").at(-1) ?? "")
    .replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, "_")
    .replace(/\p{Cs}/gu, "_");
  const ascii = name.replace(/[^\x20-\x7e]|["\\%;]/g, "_");
  const encoded = encodeURIComponent(name).replace(
    /['()*]/g,
    (odd) => `%${odd.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `attachment; filename="${ascii}"; filename*=UTF-8''${encoded}`;
}
