/** The far ends of many ttys: makes them, prints their paths, and after a line on standard input speaks at argv[3] baud on each for argv[4] s. */
import { writeSync } from "node:fs";

const [count, baud, seconds] = process.argv.slice(2).map(Number) as [number, number, number];
const { functions: libc } = process.getBuiltinModule("node:ffi").dlopen(null, {
  posix_openpt: { arguments: ["i32"], return: "i32" },
  unlockpt: { arguments: ["i32"], return: "i32" },
  ioctl: { arguments: ["i32", "u64", "buffer"], return: "i32" },
});
/** <asm-generic/fcntl.h> and ioctls.h. */
const openFlags = 0o2 | 0o400 | 0o4000;
const tiocgptn = 0x80045430n;
/** Milliseconds: UARTs and adapters hand over what they have in such small parts. */
const tick = 2;

const masters = Array.from({ length: count }, () => {
  const descriptor = libc.posix_openpt(openFlags);
  libc.unlockpt(descriptor);
  const number = Buffer.alloc(4);
  libc.ioctl(descriptor, tiocgptn, number);
  return { descriptor, path: `/dev/pts/${number.readUInt32LE()}`, sent: 0 };
});
console.log(JSON.stringify(masters.map(({ path }) => path)));

/** Every byte tells its own place. */
const pattern = Buffer.from(Uint8Array.from({ length: 251 * 64 }, (_, index) => index % 251));

process.stdin.once("data", () => {
  const started = performance.now();
  const total = Math.floor((baud / 10) * seconds);
  const timer = setInterval(() => {
    const due = Math.min(total, Math.floor(((performance.now() - started) / 1000) * (baud / 10)));
    for (const master of masters) {
      while (master.sent < due) {
        const from = master.sent % 251;
        try {
          master.sent += writeSync(
            master.descriptor,
            pattern,
            from,
            Math.min(due - master.sent, pattern.length - from),
          );
        } catch {
          break;
        }
      }
    }
    if (masters.some(({ sent }) => sent < total)) return;
    clearInterval(timer);
    console.log(JSON.stringify(total));
  }, tick);
});
process.stdin.on("end", () => process.exit());
