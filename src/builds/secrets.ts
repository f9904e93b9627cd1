/** The secrets of a build: files that only its user can read, or variables, for as long as it runs; and what masks them. */
import { chmod, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { maxSecretsBytes, secretProblem } from "#/lib/environment.ts";
import { BuildError } from "./errors.ts";
import { Masker } from "./masker.ts";
import { makeFolders } from "./workspace/files.ts";

/** A secret as the configuration has it. */
export interface SecretSource {
  readonly name: string;
  readonly file: string;
  /** Whether the build gets it as a variable. */
  readonly env: boolean;
}

export interface BuildSecrets extends AsyncDisposable {
  readonly variables: Readonly<Record<string, string>>;
  /** To be given to the build's user. */
  readonly files: readonly string[];
  /** For the console; absent: the job has no secrets. */
  readonly masker?: Masker;
  /** Masks a text of its own. */
  mask(text: string): string;
}

/** The folder of all builds' secrets: in memory if systemd gives the agent a folder there. What a crash leaves is removed at the start. */
export function secretsFolder(stateDir: string): string {
  return join(process.env.RUNTIME_DIRECTORY ?? stateDir, "secrets");
}

/**
 * Reads the job's secrets anew for each build, so a new secret takes effect at once.
 * @param build.folder it is the agent's, so a build can't replace what the agent will remove
 * @throws BuildError SECRET
 */
export async function provideSecrets(
  secrets: readonly SecretSource[],
  build: { readonly stateDir: string; readonly name: string },
): Promise<BuildSecrets> {
  if (secrets.length === 0)
    return { variables: {}, files: [], mask: (text) => text, [Symbol.asyncDispose]: async () => {} };
  const contents = await Promise.all(secrets.map(read));
  if (contents.reduce((sum, { length }) => sum + length, 0) > maxSecretsBytes)
    throw new BuildError("SECRET", "the job's secrets are too long: all of them may have 32 KiB");

  const all = secretsFolder(build.stateDir);
  const folder = join(all, build.name);
  await using undo = new AsyncDisposableStack();
  // A build that runs as the agent's user can put anything there; what is left goes at the next start.
  undo.defer(() => rm(folder, { recursive: true, force: true }).catch(() => {}));
  const variables: Record<string, string> = { LABGEAR_SECRETS: folder };
  const files: string[] = [];
  try {
    makeFolders(await realpath(dirname(all)), [basename(all), build.name]);
    await chmod(all, 0o711);
    await chmod(folder, 0o755);
    for (const [index, { name, env }] of secrets.entries()) {
      const content = contents[index] ?? Buffer.alloc(0);
      if (env) variables[name] = content.toString().replace(/\r?\n$/, "");
      else {
        const file = join(folder, name);
        await writeFile(file, content, { mode: 0o400, flag: "wx" });
        files.push(file);
      }
    }
  } catch (cause) {
    const message = `the job's secrets can't be written: ${(cause as Error).message}`;
    throw new BuildError("SECRET", message, { cause });
  }
  const masker = new Masker(contents);
  const texts = masker.fresh();
  const kept = undo.move();
  return {
    ...{ variables, files, masker },
    mask: (text) => texts.text(text),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

async function read({ name, file, env }: SecretSource): Promise<Buffer> {
  const refused = (why: string, options?: ErrorOptions) =>
    new BuildError("SECRET", `the secret ${name} can't be used: ${file} ${why}`, options);
  const content = await readFile(file).catch((cause: NodeJS.ErrnoException) => {
    throw refused(`can't be read (${cause.code})`, { cause });
  });
  const problem = secretProblem(content, env);
  if (problem !== undefined) throw refused(problem);
  return content;
}
