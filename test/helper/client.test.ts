/** The agent's side of the root helper, when the helper ends. */
import assert from "node:assert/strict";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { Helper } from "#/helper/client.ts";
import { testFolder } from "../support/folders.ts";
import { bounded } from "../support/servers.ts";

const request = {
  ...{ pipes: [null, 1, 1] as const, user: "nobody", group: "/sys/fs/cgroup/x", folder: "/" },
  ...{ place: null, argv: ["true"] as const, env: {}, belongings: [] },
};

test("a helper that ends at any moment answers every request: none waits for ever", async () => {
  using folder = testFolder();
  const path = join(folder.path, "socket");
  const server = createServer((socket) => socket.on("error", () => {}).destroy());
  server.listen(path);
  await once(server, "listening");
  // Node tells of each connection that is made here.
  let whenEnded = async () => {};
  const made = (message: unknown) =>
    (message as { socket: Socket }).socket.once("end", () => void whenEnded());
  subscribe("net.client.socket", made);
  try {
    for (let microtasks = 0; microtasks < 30; microtasks++) {
      await using helper = new Helper(path);
      const ended = Promise.withResolvers<unknown>();
      whenEnded = async () => {
        whenEnded = async () => {};
        for (let count = 0; count < microtasks; count++) await undefined;
        const answers = [helper.start(request), helper.signal("/sys/fs/cgroup/x", "SIGTERM")];
        const codes = answers.map((answer) => answer.catch((error: { code: string }) => error.code));
        ended.resolve(Promise.all(codes));
      };
      await helper.connect();
      assert.deepEqual(await bounded(ended.promise), ["AWAY", "AWAY"]);
    }
  } finally {
    unsubscribe("net.client.socket", made);
    server.close();
  }
});
