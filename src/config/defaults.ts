/** What holds for each option that the files leave out, in the files' own notation. */
export const defaults = {
  listen: "127.0.0.1:8430",
  serverPort: 4730,
  classes: ["auto"],
  executors: 1,
  keep: 200,
  keepDays: 30,
  minFree: "2GiB",
  maxConsole: "256MiB",
  timeout: "2h",
  grace: "10s",
  stopTimeout: "1h",
  orphanTimeout: "2m",
} as const;
