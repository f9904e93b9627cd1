/** The API as an OpenAPI document, version 3.1. */
import { version } from "#/lib/version.ts";

const text = { type: "string" } as const;
const count = { type: "integer", minimum: 0 } as const;
const time = { type: "string", format: "date-time" } as const;
const ref = (name: string) => ({ $ref: `#/components/schemas/${name}` });
const json = (name: string, description: string) => ({
  description,
  content: { "application/json": { schema: ref(name) } },
});
const refused = (...codes: number[]) =>
  Object.fromEntries(codes.map((code) => [String(code), json("Error", "Refused; error names the cause.")]));
const list = (items: object) => ({ type: "array", items });

const priority = { enum: ["high", "normal", "low"] };
const uuid = {
  name: "uuid",
  in: "path",
  required: true,
  schema: { type: "string", pattern: "^[0-9a-f]{32}$" },
};
const offset = { name: "offset", in: "query", schema: count };
const byToken = [{ token: [] }];
const byKey = [{ buildKey: [] }];
const end = "What it came to; a build that ends without a result has none.";

export const openapi = {
  openapi: "3.1.0",
  info: {
    title: "The gate of a lab",
    version,
    description:
      "Runs builds on the boxes and boards of a lab. A token says who asks, and the lab's rules say what for. The answer to a new build has the build's own key, which everything else of the build takes, also after the token's end.",
    license: { name: "Apache-2.0", identifier: "Apache-2.0" },
  },
  servers: [{ url: "/" }],
  paths: {
    "/v1/builds": {
      post: {
        operationId: "submitBuild",
        summary: "Submits a build",
        security: byToken,
        parameters: [
          {
            name: "Idempotency-Key",
            in: "header",
            description: "The same request with the same key is the same build, for one caller.",
            schema: { type: "string", maxLength: 255 },
          },
        ],
        requestBody: { required: true, content: { "application/json": { schema: ref("BuildRequest") } } },
        responses: {
          "201": json("Submitted", "The build is written down and on its way."),
          "200": json("Submitted", "The build of an earlier request with that Idempotency-Key."),
          ...refused(400, 401, 403, 409, 413, 429, 503),
        },
      },
    },
    "/v1/queue": {
      get: {
        operationId: "getQueue",
        summary: "What waits for the jobs and classes that the caller may use",
        security: byToken,
        responses: { "200": json("Queue", "By job and class."), ...refused(401, 403, 429, 503) },
      },
    },
    "/v1/builds/{uuid}": {
      parameters: [uuid],
      get: {
        operationId: "getBuild",
        summary: "What is known of a build",
        security: byKey,
        responses: { "200": json("Build", "The build."), ...refused(404, 429) },
      },
      delete: {
        operationId: "stopBuild",
        summary: "Stops a build, or takes it out of the queue",
        security: byKey,
        responses: { "202": json("Build", "It is being stopped, or has ended."), ...refused(404, 429) },
      },
    },
    "/v1/builds/{uuid}/events": {
      parameters: [uuid],
      get: {
        operationId: "followBuild",
        summary: "A build as server-sent events",
        description:
          "data: where it runs, `wants` while inputs lack, and at last its result. output: text of the console, with its offset; the event's id is where the console goes on, for Last-Event-ID. progress, queue: how far it is, what waits. end: nothing follows.",
        security: byKey,
        parameters: [
          { name: "Last-Event-ID", in: "header", schema: { type: "string", pattern: "^[0-9]{1,15}$" } },
          offset,
        ],
        responses: {
          "200": { description: "The events.", content: { "text/event-stream": { schema: text } } },
          ...refused(400, 404, 409, 429),
        },
      },
    },
    "/v1/leases": {
      get: {
        operationId: "getLeases",
        summary: "Which of the boards that the caller may lease are leased",
        security: byToken,
        responses: {
          "200": json("Leases", "Who and why only of the caller's own."),
          ...refused(401, 403, 429, 503),
        },
      },
    },
    "/v1/builds/{uuid}/lease": {
      parameters: [uuid],
      get: {
        operationId: "holdLease",
        summary: "A lease's serial line, as a WebSocket of the protocol labgear.lease.1",
        description:
          "Messages are binary: a line of JSON, a newline, bytes. The holder calls type, console, send and fetch of the lease's agent, with what it has signed; data says what the agent says, queue what waits, ended how the lease ended.",
        security: byKey,
        responses: {
          "101": { description: "The WebSocket." },
          "426": json("Error", "The request is for no WebSocket."),
          ...refused(404, 409, 429, 503),
        },
      },
    },
    "/v1/builds/{uuid}/inputs/{name}": {
      parameters: [
        uuid,
        {
          name: "name",
          in: "path",
          required: true,
          schema: { type: "string", pattern: "^[a-z][a-z0-9_]{0,63}$" },
        },
      ],
      put: {
        operationId: "sendInput",
        summary: "Sends an input, or the rest of it, when the build wants it",
        security: byKey,
        parameters: [{ ...offset, description: "Where in the input the body begins: as `wants` says." }],
        requestBody: { required: true, content: { "application/octet-stream": {} } },
        responses: {
          "200": json("Received", "How much of it is there."),
          "409": json("Error", "It isn't wanted now, or goes on at the answer's offset."),
          ...refused(400, 404, 411, 413, 429, 503),
        },
      },
    },
    "/v1/builds/{uuid}/results/{path}": {
      parameters: [
        uuid,
        {
          name: "path",
          in: "path",
          required: true,
          schema: text,
          description: "record, console, tests, junit, serial, artifacts, or artifacts/PATH.",
        },
      ],
      get: {
        operationId: "getResult",
        summary: "What a build has left: the whole, or with an offset a piece",
        security: byKey,
        parameters: [
          offset,
          { name: "length", in: "query", schema: { type: "integer", minimum: 1, maximum: 1048576 } },
        ],
        responses: {
          "200": {
            description: "The bytes.",
            headers: {
              "Labgear-Size": { schema: count, description: "Of the whole, now." },
              "Labgear-End": {
                schema: { enum: ["true", "false"] },
                description: "Whether nothing follows and nothing will be added.",
              },
              "Labgear-Sha256": { schema: text, description: "Of the whole, once the build has ended." },
            },
            content: { "application/octet-stream": {} },
          },
          ...refused(400, 404, 409, 429, 503),
        },
      },
    },
  },
  components: {
    securitySchemes: {
      token: {
        type: "http",
        scheme: "bearer",
        description: "An OpenID Connect token of a CI system, or a static token.",
      },
      buildKey: {
        type: "http",
        scheme: "bearer",
        description: "The key in the answer to the build's submission.",
      },
    },
    schemas: {
      BuildRequest: {
        type: "object",
        additionalProperties: false,
        required: ["job"],
        properties: {
          job: text,
          node: { ...text, description: "A class of nodes, or a node's name." },
          parameters: {
            type: "object",
            maxProperties: 100,
            additionalProperties: { type: "string", maxLength: 8192 },
          },
          inputs: list(ref("Input")),
          priority,
          lease: {
            type: "object",
            description: "Of the job lease, which gives a board for a while: node names it, or its class.",
            additionalProperties: false,
            required: ["key"],
            properties: {
              for: { ...count, description: "Seconds. Default: as long as the rule allows." },
              reason: { ...text, maxLength: 200, description: "For those who wait for the board." },
              key: { ...text, description: "The holder's public key (Ed25519), which signs what is typed." },
            },
          },
          client_timeout: {
            ...count,
            description: "Seconds: without a sign of life for so long, it is stopped. 0: never.",
          },
        },
      },
      Input: {
        type: "object",
        additionalProperties: false,
        required: ["name", "size", "sha256"],
        properties: { name: text, size: count, sha256: { type: "string", pattern: "^[0-9a-f]{64}$" } },
      },
      Submitted: {
        type: "object",
        required: ["uuid", "key", "job", "url"],
        properties: { uuid: text, key: text, job: text, node: text, url: text },
      },
      Build: {
        type: "object",
        required: ["uuid", "job", "state", "created"],
        properties: {
          ...{ uuid: text, job: text, node: text },
          state: { enum: ["queued", "running", "stopping", "ended"] },
          ...{ created: time, started: time, ended: time },
          build: {
            type: "object",
            required: ["manager", "name", "number"],
            properties: { manager: text, name: text, number: count, node_name: text, url: text },
          },
          wants: list({
            type: "object",
            required: ["name", "offset"],
            properties: { name: text, offset: count },
          }),
          result: { ...text, description: end },
          ...{ reason: text, cause: text },
          minutes: { ...count, description: "What it counts as." },
          until: { ...time, description: "Of a lease: when its time is over." },
        },
      },
      Leases: {
        type: "object",
        required: ["leases"],
        properties: {
          leases: list({
            type: "object",
            required: ["board", "box"],
            properties: { board: text, box: text, until: text, who: text, reason: text },
          }),
        },
      },
      Received: { type: "object", required: ["received"], properties: { received: count } },
      Queue: {
        type: "object",
        required: ["queue"],
        properties: {
          queue: list({
            type: "object",
            required: ["job", "queued", "running", "workers"],
            properties: { job: text, node: text, queued: count, running: count, workers: count },
          }),
        },
      },
      Error: {
        type: "object",
        required: ["error", "message"],
        properties: {
          error: text,
          message: text,
          offset: { ...count, description: "Where an input goes on." },
        },
      },
    },
  },
} as const;
