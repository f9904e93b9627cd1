/** `labgear helper`: the root helper that starts builds, as its systemd unit runs it. */
import { realpath } from "node:fs/promises";
import { createServer } from "node:net";
import type { Command } from "commander";
import { serve } from "#/helper/server.ts";
import { agentAccount, buildAccounts, fetchAccount } from "#/host/accounts.ts";
import { CommandError } from "./exit.ts";
import { newCommand } from "./options.ts";

/** The first descriptor that systemd passes: the listening socket. Source: sd_listen_fds(3). */
const listenDescriptor = 3;

export function command(): Command {
  return newCommand(
    "helper [OPTIONS]",
    "Starts builds for the agent, as root; labgear-helper.socket runs it.",
  )
    .option("--state-dir <folder>", "the agent's state directory", "/var/lib/labgear")
    .action(run);
}

async function run(options: { readonly stateDir: string }): Promise<void> {
  process.title = "labgear-helper";
  if (process.env.LISTEN_PID !== `${process.pid}` || process.env.LISTEN_FDS !== "1")
    throw new CommandError("usage", "only systemd starts it: systemctl start labgear-helper.socket");
  const agent = await agentAccount();
  if (!agent) throw new CommandError("failure", "there is no user labgear, which the agent runs as");
  const stateDir = await realpath(options.stateDir);
  const accounts = await buildAccounts();
  const fetch = await fetchAccount();
  // When the agent hangs up, it ends; for the next one, systemd starts the version that is installed then.
  let served = 0;
  const server = createServer((connection) => {
    served += 1;
    connection.on("error", () => {});
    void serve(connection, { stateDir, runtimeDir: "/run/labgear", agent, accounts, fetch }).finally(() => {
      served -= 1;
      if (served === 0) process.exit(0);
    });
  });
  server.listen({ fd: listenDescriptor });
}
