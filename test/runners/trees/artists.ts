/** Scripts that try to get their children out of a build's reach. */

/** Each starts processes that sleep for an hour in the workspace, and says so in a file each. */
export const artists: Readonly<Record<string, string>> = {
  "a background process": "sleep 3600 & ",
  "a session of its own": "setsid sleep 3600 & ",
  "a scrubbed environment": "env -i sleep 3600 & ",
  "scrubbed, in a session of its own": "env -i setsid sleep 3600 & ",
  "a double fork": "(sleep 3600 &) ",
  "a double fork in a session of its own": "setsid sh -c 'sleep 3600 & sleep 3600 &' ",
  "deaf to SIGTERM": "sh -c 'trap \"\" TERM HUP INT; sleep 3600' & ",
  "a daemon that holds the output": `perl -MPOSIX -e 'exit if fork; POSIX::setsid(); exit if fork; sleep 3600' `,
};

/**
 * Scrubbed, double-forked, in a session of its own, with no output: there is no trace of its origin. It opens `untraceable` for
 * writing once that is so.
 */
export const traceless =
  "env -i /usr/bin/perl -MPOSIX -e 'exit if fork; POSIX::setsid(); exit if fork; open $_, q(</dev/null) for *STDIN, *STDOUT, *STDERR; open F, q(>untraceable); close F; sleep 3600'";

/** All of them together. */
export const all = [...Object.values(artists), traceless].join("\n");
