/** The file system of the emulated Linux board, as a cpio archive: a busybox and what makes it a system to log in to. */

/** Who can log in. */
export const linuxUsers = {
  root: { user: "root", password: "labgear-7" },
  /** Is let in without being asked for a password. */
  guest: { user: "guest", password: "" },
} as const;

/** What `openssl passwd -1 -salt labgear` makes of root's password: a quick one, as the processor is emulated. */
const rootHash = "$1$labgear$VyuDgn4nuV6ccT.tyuzLA0";

const files: Readonly<Record<string, readonly [mode: number, text: string]>> = {
  init: [
    0o755,
    `#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /tmp /run /usr/bin /usr/sbin /sbin
/bin/busybox --install -s
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
chmod 1777 /tmp
hostname rack-board
read tty </sys/class/tty/console/active
echo "$tty::respawn:/sbin/getty -L 115200 $tty vt100" >>/etc/inittab
exec /sbin/init
`,
  ],
  "etc/inittab": [
    0o644,
    `::ctrlaltdel:/sbin/reboot
`,
  ],
  "etc/passwd": [
    0o644,
    `root:${rootHash}:0:0:root:/root:/bin/sh
guest::1000:1000:guest:/home/guest:/bin/sh
`,
  ],
  "etc/group": [0o644, "root:x:0:\nguest:x:1000:\n"],
  "etc/issue": [0o644, "\nRack board, kernel \\r on \\l\n\n"],
  "etc/motd": [0o644, "A board of the tests: what you do to it goes with the power.\n"],
};

/** The archive, in the format `newc` of the kernel's Documentation/driver-api/early-userspace/buffer-format.rst. */
export function initramfs(busybox: Buffer): Buffer {
  const archive = new Archive();
  for (const folder of ["bin", "dev", "etc", "root", "home"]) archive.add(folder, 0o040755);
  archive.add("home/guest", 0o040755, Buffer.alloc(0), { owner: 1000 });
  archive.add("dev/console", 0o020600, Buffer.alloc(0), { device: [5, 1] });
  archive.add("bin/busybox", 0o104755, busybox);
  for (const [name, [mode, text]] of Object.entries(files)) {
    archive.add(name, 0o100000 | mode, Buffer.from(text));
  }
  return archive.end();
}

class Archive {
  readonly #parts: Buffer[] = [];
  #length = 0;
  #inode = 1;

  add(
    name: string,
    mode: number,
    bytes: Buffer = Buffer.alloc(0),
    { owner = 0, device = [0, 0] }: { owner?: number; device?: readonly [number, number] } = {},
  ): void {
    const links = 1;
    const fields = [
      this.#inode++,
      mode,
      owner,
      owner,
      links,
      0,
      bytes.length,
      0,
      0,
      ...device,
      name.length + 1,
      0,
    ];
    const hex = fields.map((field) => field.toString(16).padStart(8, "0")).join("");
    this.#push(Buffer.from(`070701${hex}${name}\0`));
    this.#push(bytes);
  }

  end(): Buffer {
    this.add("TRAILER!!!", 0);
    return Buffer.concat(this.#parts);
  }

  /** Every header and every content is filled up to a multiple of four. */
  #push(bytes: Buffer): void {
    this.#parts.push(bytes, Buffer.alloc(-(this.#length + bytes.length) & 3));
    this.#length += bytes.length + (-(this.#length + bytes.length) & 3);
  }
}
