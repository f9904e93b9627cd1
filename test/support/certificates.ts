/** Makes TLS certificates for a test with openssl: a CA, a server's, a client's. */
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { part, partsEnv } from "./parts.ts";

const run = promisify(execFile);

/** The paths of a certificate and its key, as PEM files. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

/** A certificate authority; its `cert` is what a peer that trusts it is given. */
export async function makeCa(folder: string, name: string): Promise<Certificate> {
  const files = paths(folder, name);
  const subject = ["-subj", `/CN=${name}`, "-days", "2", "-x509"];
  await openssl("req", ...subject, ...newKey, "-keyout", files.key, "-out", files.cert);
  return files;
}

/** A certificate that the CA signed, for subject alternative names such as `DNS:localhost,IP:127.0.0.1`. */
export async function makeCertificate(folder: string, name: string, ca: Certificate, names: string) {
  const files = paths(folder, name);
  const request = join(folder, `${name}.csr`);
  const extensions = join(folder, `${name}.ext`);
  await writeFile(extensions, `subjectAltName=${names}\n`);
  await openssl("req", ...newKey, "-subj", `/CN=${name}`, "-keyout", files.key, "-out", request);
  const signer = ["-CA", ca.cert, "-CAkey", ca.key, "-CAcreateserial", "-days", "2", "-extfile", extensions];
  await openssl("x509", "-req", "-in", request, ...signer, "-out", files.cert);
  return files;
}

const paths = (folder: string, name: string): Certificate => ({
  cert: join(folder, `${name}.pem`),
  key: join(folder, `${name}.key`),
});

async function openssl(...args: string[]): Promise<void> {
  await run(part("openssl"), args, { env: partsEnv });
}
