/** Mistakes in devices, and in who may look at the pages: each with its line and what was expected. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { deviceMistakes, mistakes } from "./mistakes.ts";

const good = "classes: [c], port: /dev/good, console: raw";

test("mistakes all over some devices give a line each, at their lines", async () => {
  const found = await mistakes(`name: rack7
devices:
  rack7:
    classes: [rpi4]
    port: ttyUSB0
    console: linus
    login: { user: root }
  "b:c": { classes: [x], port: /dev/b, console: raw }
  late:
    classes: []
    port:
      baud: 10
      flow: hard
    console: u-boot
    quarantine-after: 0
    boot-timeout: soon
    clases: [x]
  none:
`);
  assert.deepEqual(found, [
    "labgear.yaml:3: devices.rack7: is also the name of the host's node: choose another one",
    'labgear.yaml:5: devices.rack7.port: expected a path such as /dev/ttyUSB0, tcp://HOST:PORT, telnet://HOST:PORT or rfc2217://HOST:PORT, found "ttyUSB0"',
    'labgear.yaml:6: devices.rack7.console: expected linux, u-boot, barebox, zephyr, nuttx, micropython or raw, found "linus" (did you mean "linux"?)',
    'labgear.yaml:8: devices.b:c: "b:c" can\'t be the name of a device: it contains a colon',
    "labgear.yaml:10: devices.late.classes: expected at least one entry, found an empty list",
    "labgear.yaml:11: devices.late.port: expected at least one of path, by-id, usb, serial, location or url",
    "labgear.yaml:12: devices.late.port.baud: expected a whole number from 50 to 20000000, found 10",
    'labgear.yaml:13: devices.late.port.flow: expected none, rtscts or xonxoff, found "hard"',
    "labgear.yaml:15: devices.late.quarantine-after: expected a whole number from 1 to 1000, found 0",
    'labgear.yaml:16: devices.late.boot-timeout: expected a duration such as 30m, 10s or 1h30m, found "soon"',
    'labgear.yaml:17: devices.late.clases: is not an option (did you mean "classes"?)',
    "labgear.yaml:18: devices.none: expected a mapping of options, found nothing",
  ]);
});

test("what a device can't do without", async () => {
  assert.deepEqual(await deviceMistakes({ d: "{}" }), [
    "the option classes is required",
    "the option port is required",
    "the option console is required",
  ]);
  assert.deepEqual(await deviceMistakes({ d: "{classes: [c], port: , console: }" }), [
    "port: expected a path such as /dev/ttyUSB0, tcp://HOST:PORT, telnet://HOST:PORT or rfc2217://HOST:PORT, found nothing",
    "console: expected linux, u-boot, barebox, zephyr, nuttx, micropython or raw, found nothing",
  ]);
  assert.deepEqual(await mistakes("name: a\ndevices: {b: {classes: [auto], port: /dev/b, console: raw}}"), [
    "labgear.yaml:2: devices.b.classes: auto is for the host only: name the board's class",
  ]);
});

test("names that could not be parts of a page's or a file's, and more devices than there can be", async () => {
  for (const name of ["a/b", "../a", ".a", "-a", "a b"]) {
    const found = await mistakes(`devices: {"${name}": {${good}}}`);
    assert.equal(found.length, 1, found.join("\n"));
    assert.match(found[0] ?? "", /can't be the name of a device: /);
  }
  const many = Array.from({ length: 20_000 }, (_, i) => `  d${i}: {port: /dev/d${i}}`).join("\n");
  const [first, ...others] = await mistakes(`devices:\n${many}`);
  assert.equal(first, "labgear.yaml:1: devices: expected 1000 entries at most");
  assert.ok(others.length <= 101);
});

test("ports that can't be", async () => {
  const paths =
    'expected a path such as /dev/ttyUSB0, tcp://HOST:PORT, telnet://HOST:PORT or rfc2217://HOST:PORT, found "';
  const file = "expected the path of a device file or of a link to one, such as /dev/ttyUSB0, found";
  const ports: Record<string, string> = {
    "7": "port: expected a path such as /dev/ttyUSB0, tcp://HOST:PORT, telnet://HOST:PORT or rfc2217://HOST:PORT, found 7",
    "tcp://h": `port: ${paths}tcp://h"`,
    "tcp://h:0": `port: ${paths}tcp://h:0"`,
    "tcp://u@h:1": `port: ${paths}tcp://u@h:1"`,
    "telnet://h": `port: ${paths}telnet://h"`,
    "/dev/": `port: ${paths}/dev/"`,
    "/dev/../etc/x": `port: ${paths}/dev/../etc/x"`,
    "{path: ttyUSB0}": `port.path: ${file} "ttyUSB0"`,
    "{path: /dev/}": `port.path: ${file} "/dev/"`,
    "{by-id: /dev/serial/by-id/x}":
      'port.by-id: expected the name of a link in /dev/serial/by-id, without the folder, found "/dev/serial/by-id/x"',
    "{usb: FTDI}": 'port.usb: expected VENDOR:PRODUCT in hexadecimal, such as 0403:6001, found "FTDI"',
    "{serial: 0012}": "port.serial: expected the serial number of a USB adapter, found 12: put it in quotes",
    "{location: top}": 'port.location: expected the location of a USB adapter, such as 1-1.4, found "top"',
    "{interface: 1}": "port: expected at least one of path, by-id, usb, serial, location or url",
    "{serial: X, interface: -1}": "port.interface: expected a whole number from 0 to 255, found -1",
    "{url: /dev/x}":
      'port.url: expected tcp://HOST:PORT, telnet://HOST:PORT or rfc2217://HOST:PORT, found "/dev/x"',
    "{url: tcp://h:1, usb: 0403:6001}":
      "port.usb: can't be combined with url: the port of a console server is not a tty here",
    "{url: telnet://h:1, parity: even}":
      "port.parity: can't be set over telnet://, which carries only bytes: use rfc2217://",
    "{url: tcp://h:1, flow: rtscts}":
      "port.flow: can't be set over tcp://, which carries only bytes: use rfc2217://",
  };
  for (const [port, message] of Object.entries(ports)) {
    assert.deepEqual(
      await deviceMistakes({ d: `{classes: [c], port: ${port}, console: raw}` }),
      [message],
      port,
    );
  }
});

test("ports that two devices would meet at", async () => {
  const ports: [string, string, string][] = [
    ["/dev/x", "{path: /dev/x, baud: 9600}", 'is also the port of the device "a": /dev/x'],
    ["{by-id: x}", "/dev/serial/by-id/x", 'is also the port of the device "a": /dev/serial/by-id/x'],
    ["{usb: 0403:6A01}", "{usb: 0403:6a01}", 'is also the port of the device "a": usb 0403:6a01'],
    ["tcp://H:1", "rfc2217://h:1", 'is also the port of the device "a": rfc2217://h:1'],
    [
      "{usb: 0403:6001}",
      "{usb: 0403:6001, serial: X}",
      'may also be the port of the device "a": whatever matches usb 0403:6001, serial X also matches usb 0403:6001',
    ],
    [
      "{serial: X, interface: 1}",
      "{serial: X}",
      'may also be the port of the device "a": whatever matches serial X, interface 1 also matches serial X',
    ],
  ];
  for (const [a, b, message] of ports) {
    const device = (port: string): string => `{classes: [c], port: ${port}, console: raw}`;
    assert.deepEqual(await deviceMistakes({ a: device(a), b: device(b) }), [`port: ${message}`], `${a} ${b}`);
  }
});

test("options that go with another console, another port or one another", async () => {
  const tcp = "port: tcp://h:1, console: raw";
  const options: Record<string, string> = {
    "login: {user: root}": 'login: is for linux consoles, and this one is "raw"',
    "prompt: x": 'prompt: is for linux, u-boot, barebox, zephyr and nuttx consoles, and this one is "raw"',
    "autoboot-key: x": 'autoboot-key: is for u-boot and barebox consoles, and this one is "raw"',
    "health: {probe: x}":
      'health.probe: is for linux, u-boot, barebox, zephyr, nuttx and micropython consoles, and this one is "raw"',
    "power: {on: x}": "power: the option on also needs off",
    "power: {off: x, cycle: y}": "power: the option off also needs on",
    "power: {cycle: ' '}": 'power.cycle: expected a shell script, found " "',
    "reset: cts": 'reset: expected esp32, arduino, dtr or rts, found "cts" (did you mean "rts"?)',
    "health: {job: smoke}": 'health.job: there is no job "smoke" (did you mean "smoke2"?)',
    "health: {job: smoke2}":
      "health.job: the job \"smoke2\" can't run on this device: add the device to the job's nodes",
    "health: {job: toString}": 'health.job: there is no job "toString"',
  };
  for (const [option, message] of Object.entries(options)) {
    const found = await deviceMistakes({ d: `{${good}, ${option}}` }, "jobs: {smoke2: {run: x}}");
    assert.deepEqual(found, [message], option);
  }
  assert.deepEqual(await deviceMistakes({ d: `{classes: [c], ${tcp}, reset: dtr}` }), [
    "reset: needs the port's control lines, and tcp:// carries only bytes: use rfc2217://",
  ]);
  const linux = "classes: [c], port: /dev/x, console: linux";
  const linuxOptions: Record<string, RegExp> = {
    'prompt: " "':
      /^prompt: expected the text of a prompt, or a pattern between slashes: one line that isn't blank, 100 characters at most, found " "$/,
    "login: {}": /^login: the option user is required$/,
    "login: {user: 'a:b'}": /^login\.user: expected a user name without a colon, found "a:b"$/,
    "health: {expect: x}": /^health: the option expect also needs probe$/,
    'health: {probe: "a\\nb"}': /^health\.probe: must be a single line/,
    "health: {probe: x, expect: '('}":
      /^health\.expect: "\(" can't be used as a pattern: .*missing closing \)/,
    "health: {probe: x, expect: 'a*'}": /^health\.expect: "a\*" can't be used as a pattern: /,
  };
  for (const [option, message] of Object.entries(linuxOptions)) {
    const found = await deviceMistakes({ d: `{${linux}, ${option}}` });
    assert.equal(found.length, 1, found.join("\n"));
    assert.match(found[0] ?? "", message);
  }
});

test("files with secrets: there, readable, with one line", async () => {
  const device = (file: string): string =>
    `devices:\n  d: {classes: [c], port: /dev/x, console: linux, login: {user: u, password-file: ${file}}}`;
  const files: Record<string, RegExp> = {
    none: /"none" does not exist$/,
    "conf.d": /"conf.d" is not a file$/,
    empty: /"empty" begins with an empty line: the first line must be the password or the token$/,
    lines: /"lines" has more than one line/,
    long: /"long" is longer than 4096 bytes/,
  };
  const contents = { "conf.d/x": "", empty: " \n", lines: "a\nb\n", long: "x".repeat(5000) };
  for (const [file, message] of Object.entries(files)) {
    const [found, ...others] = await mistakes({ "labgear.yaml": device(file), ...contents });
    assert.deepEqual(others, []);
    assert.match(found ?? "", /^labgear\.yaml:2: devices\.d\.login\.password-file: /);
    assert.match(found ?? "", message);
    const [page] = await mistakes({ "labgear.yaml": `http: {auth: {token-file: ${file}}}`, ...contents });
    assert.match(page ?? "", /^labgear\.yaml:1: http\.auth\.token-file: /);
    assert.match(page ?? "", message);
  }
});

test("who may look: a password with its user, or a token", async () => {
  const auth: Record<string, string> = {
    "{}": "http.auth: expected either user and password-file or token-file, found neither",
    "{user: u}": "http.auth: the option user also needs password-file",
    "{password-file: pw}": "http.auth: the option password-file also needs user",
    "{user: u, password-file: pw, token-file: pw}":
      "http.auth: expected either user and password-file or token-file, found both",
    "{user: 'a:b', password-file: pw}": 'http.auth.user: expected a user name without a colon, found "a:b"',
    secret: 'http.auth: expected a mapping of options, found "secret"',
  };
  for (const [option, message] of Object.entries(auth)) {
    const found = await mistakes({ "labgear.yaml": `http: {auth: ${option}}`, pw: "x\n" });
    assert.deepEqual(found, [`labgear.yaml:1: ${message}`], option);
  }
});
