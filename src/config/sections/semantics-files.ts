/** Whether the files that the configuration names are there and can be read. */
import { accessSync, constants, readFileSync, statSync } from "node:fs";
import { shown } from "#/lib/text.ts";
import type { Finding } from "../explain.ts";
import type { ResolveFile } from "../semantics.ts";
import type { Path } from "../source.ts";
import { entries, mapping } from "../unchecked.ts";

/** In bytes; a longer file is hardly a password's. */
const longestSecret = 4096;

/** @param data the merged files @returns what is wrong with the files of tls, http.auth and the devices' login */
export function checkFiles(data: Readonly<Record<string, unknown>>, resolveFile: ResolveFile): Finding[] {
  const findings: Finding[] = [];
  const check = (path: Path, name: unknown, problem: (file: string) => string | undefined): void => {
    if (typeof name !== "string" || name.trim() === "" || name.includes("\0")) return;
    const file = resolveFile(path, name);
    const found = problem(file);
    if (found !== undefined) findings.push({ path, message: `${shown(file)} ${found}` });
  };
  const tls: [Path, unknown][] = [
    [["tls"], data.tls],
    ...entries(data.servers).map(([place, server]): [Path, unknown] => [
      ["servers", place, "tls"],
      server.tls,
    ]),
  ];
  for (const [path, options] of tls) {
    for (const key of ["ca", "cert", "key"]) check([...path, key], mapping(options)[key], fileProblem);
  }
  const auth = mapping(mapping(data.http).auth);
  for (const key of ["password-file", "token-file"]) check(["http", "auth", key], auth[key], secretProblem);
  for (const [name, { login }] of entries(data.devices)) {
    check(["devices", name, "login", "password-file"], mapping(login)["password-file"], secretProblem);
  }
  return findings;
}

function fileProblem(file: string): string | undefined {
  try {
    if (!statSync(file).isFile()) return "is not a file";
    accessSync(file, constants.R_OK);
    return undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === "ENOENT" ? "is not there" : `can't be read (${code}): let this user read it`;
  }
}

/** With an empty password everybody would get in. */
function secretProblem(file: string): string | undefined {
  const problem = fileProblem(file);
  if (problem !== undefined) return problem;
  if (statSync(file).size > longestSecret)
    return `has more than ${longestSecret} bytes: it should hold one line`;
  const lines = readFileSync(file, "utf8").trimEnd().split("\n");
  if (lines[0]?.trim() === "") return "begins with an empty line: put the password or the token there";
  return lines.length > 1
    ? "has more than one line: put nothing but the password or the token there"
    : undefined;
}
