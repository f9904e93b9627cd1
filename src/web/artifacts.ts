/** The artifacts of a build: files that a job made, so that a browser only ever gets them as downloads. */
import { Hono } from "hono";
import { openStored } from "#/builds/workspace/files.ts";
import type { Env, Rooms } from "./app.ts";
import { RequestError } from "./errors.ts";
import { findBuild } from "./find-build.ts";
import { untrusted } from "./headers.ts";
import { artifactType, attachment } from "./media-types.ts";
import { sendFile } from "./send-file.ts";

export function artifactRoutes({ lab }: Rooms): Hono<Env> {
  const routes = new Hono<Env>();
  routes.get("/builds/:job/:number/artifacts/:path{.+}", async (c) => {
    const { job, number, path } = c.req.param();
    // Both below the build's folder: the folder of the artifacts itself may have been made a link.
    const file = await openStored(findBuild(lab, job, number).folder, path, "artifacts");
    if (!file) throw new RequestError(404, "this build has no such artifact");
    const { size, mtimeMs } = await file.stat();
    return sendFile(c, file, {
      size,
      etag: `"${size}-${Math.round(mtimeMs)}"`,
      headers: {
        ...untrusted,
        "content-type": artifactType(path),
        "content-disposition": attachment(path),
      },
    });
  });
  return routes;
}
