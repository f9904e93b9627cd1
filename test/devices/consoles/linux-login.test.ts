/** From every state that a board is found in to its shell, or to the named cause why not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Dialogue } from "#/devices/consoles/dialogue.ts";
import { LinuxBoard } from "#/devices/consoles/linux/board.ts";
import { type Login, logIn } from "#/devices/consoles/linux/login.ts";
import { type React, VirtualBoard } from "./virtual-board.ts";

const login = { user: "root", password: "secret" };

function* entering(options: {
  login?: Login;
  prompt?: string;
  timeout?: number;
  isBooting?: boolean;
}): Dialogue<void> {
  const board = new LinuxBoard();
  yield* board.next(0);
  const { timeout = 60_000, prompt, isBooting = false } = options;
  yield* logIn({
    board,
    login: options.login,
    prompt,
    probe: "echo 'a''b'",
    answer: "ab",
    isBooting,
    bootSilenceMs: 15_000,
    timeoutMs: timeout,
  });
}

/** Lines that are typed, each with what stood before it cleared by Ctrl-U or Ctrl-C. */
function lines(
  onLine: (line: string, board: VirtualBoard) => void,
  onKey: React = () => {},
  echoes: () => boolean = () => false,
): React {
  let line = "";
  return (typed, board) => {
    for (const key of typed) {
      if (key === "\x15") line = "";
      else if (key === "\n") {
        board.say(`${echoes() ? line : ""}\r\n`);
        const whole = line;
        line = "";
        onLine(whole, board);
      } else if (key < " ") onKey(key, board);
      else line += key;
    }
  };
}

/** A shell with the prompt. */
function shell(prompt: string): (line: string, board: VirtualBoard) => void {
  return (line, board) => {
    if (line === "echo 'a''b'") board.say("ab\r\n");
    else if (line !== "") board.say(`sh: ${line}: not found\r\n`);
    board.say(prompt, 2);
  };
}

interface Words {
  readonly name?: string;
  readonly password?: string;
  readonly refusal?: string;
}

/** getty, login and a shell. */
function system(prompt: string, askPassword = true, words: Words = {}): React {
  const asksName = words.name ?? "board login: ";
  const asksPassword = words.password ?? "Password: ";
  const refusal = words.refusal ?? "Login incorrect";
  let state: "name" | "password" | "shell" = "name";
  let name = "";
  const run = shell(prompt);
  const onLine = (line: string, board: VirtualBoard) => {
    if (state === "shell") return run(line, board);
    if (state === "name") {
      name = line;
      if (line === "") return board.say(asksName);
      if (askPassword) {
        state = "password";
        return board.say(asksPassword);
      }
    } else if (name !== "root" || line !== "secret") {
      state = "name";
      board.say(`\r\n${refusal}\r\n${asksName}`, 1000);
      return;
    }
    state = "shell";
    board.say(`Welcome\r\n${prompt}`, 300);
  };
  return lines(
    onLine,
    () => {},
    () => state === "name",
  );
}

test("login: a board that boots is let boot; its login gets a name and a password", () => {
  const board = new VirtualBoard(system("# "));
  for (let at = 0; at < 15; at++) board.say(`Starting service $ ${at}\r\n`, at * 1500);
  board.say("\r\nboard login: ", 22_500);
  board.hold(entering({ login }));
  assert.equal(board.typed, "root\nsecret\n\x15echo 'a''b'\n");
  assert.ok(board.now < 36_000, `${board.now}`);
});

test("login: what a board starts while it boots isn't interrupted", () => {
  const board = new VirtualBoard(() => {});
  board.say("U-Boot 2023.01\r\nStarting kernel ...\r\n");
  board.say("Asking for an address ...\r\n", 3200);
  fails(board, { login, timeout: 12_000 }, "noise", /address/);
  assert.ok(!board.typed.includes("\x03"));
});

test("login: a timer that ends a fraction of a millisecond early doesn't double a silence", () => {
  let first: number | undefined;
  const run = lines(shell("# "));
  const board = new VirtualBoard((typed, self) => {
    first ??= self.now;
    run(typed, self);
  });
  board.earlyMs = 0.4;
  board.hold(entering({}));
  assert.ok(first !== undefined && first > 1999 && first < 2000, `${first}`);
});

test("login: kernel lines that never stop", () => {
  const board = new VirtualBoard(lines(shell("# ")));
  for (let at = 0; at < 1000; at++) board.say("[   12.345678] noise of the kernel\r\n", at * 100);
  board.hold(entering({ login }));
  assert.ok(board.now < 10_000, `${board.now}`);
});

test("login: without a password; kernel lines after the prompt", () => {
  const board = new VirtualBoard(system("$ ", false));
  board.say("board login: [   12.345678] random: crng init done\r\n");
  board.hold(entering({ login: { user: "root" } }));
  assert.doesNotMatch(board.typed, /secret/);
});

for (const prompt of [
  "$ ",
  "> ",
  "",
  "=> ",
  "[board] login: ",
  "Password: ",
  "ok\r\n# ",
  "\x1b[1;32mroot@b\x1b[0m:~# ",
  "100% # ",
]) {
  test(`login: a shell with the prompt ${JSON.stringify(prompt)}`, () => {
    const board = new VirtualBoard(lines(shell(prompt)));
    board.hold(entering({ login }));
    assert.ok(board.now < 12_000, `${board.now}`);
    const after = new VirtualBoard(system(prompt));
    after.say("board login: ");
    after.hold(entering({ login }));
  });
}

test("login: a shell whose prompt is a pattern", () => {
  const board = new VirtualBoard(lines(shell("12:30 board ▶ ")));
  board.say("12:30 board ▶ ");
  board.hold(entering({ prompt: "/\\d\\d:\\d\\d board/" }));
  assert.ok(board.now < 6000, `${board.now}`);
});

for (const [name, way] of [
  ["a command that runs", "\x03"],
  ["one that ignores the interrupt", "\x1c"],
  ["what reads to the end of its input", "\x04"],
] as const) {
  test(`login: ${name}`, () => {
    const run = shell("# ");
    let busy = true;
    const board = new VirtualBoard(
      lines(
        (line, self) => !busy && run(line, self),
        (key, self) => {
          if (key === way) busy = false;
          if (!busy) self.say("\r\n# ");
        },
      ),
    );
    board.hold(entering({}));
    if (way !== "\x04") assert.ok(!board.typed.includes("\x04"), "nobody is logged out without need");
  });
}

function fails(
  board: VirtualBoard,
  options: Parameters<typeof entering>[0],
  reason: string,
  message: RegExp,
): void {
  assert.throws(() => board.hold(entering(options)), { reason, message });
}

test("login: refused, by the board or for want of a name or password", () => {
  const wrong = { user: "root", password: "other" };
  fails(new VirtualBoard(system("# ")), { login: wrong }, "login-refused", /check user and password/);
  const asks = new VirtualBoard(system("# "));
  asks.say("board login: ");
  fails(asks, {}, "login-refused", /add login.user/);
  fails(new VirtualBoard(system("# ")), { login: { user: "root" } }, "login-refused", /password-file/);
});

/** As UTF-8 comes over a line: a character a byte. */
function utf8(text: string): string {
  return Buffer.from(text).toString("latin1");
}

const languages: readonly (readonly [language: string, name: string, password: string, refusal: string])[] = [
  ["German", "board Anmeldung: ", "Passwort: ", "Login fehlerhaft"],
  ["French", "board connexion : ", "Mot de passe : ", "Identifiant incorrect"],
  ["Spanish", "board inicio de sesión: ", "Contraseña: ", "Inicio de sesión incorrecto"],
  ["Italian", "board login: ", "Password: ", "Login non corretto"],
  ["Portuguese", "Login board: ", "Senha: ", "Login incorreto"],
  ["Japanese", "board ログイン: ", "パスワード: ", "ログインが違います"],
  ["Chinese", "board 登录：", "密码：", "登录错误"],
  ["Korean", "board 로그인: ", "암호: ", "로그인이 맞지 않습니다"],
  ["Russian", "board учетная запись: ", "Пароль: ", "Неверный логин"],
  ["Polish", "board login: ", "Hasło: ", "Nieprawidłowe logowanie"],
  ["Swedish", "board inloggning: ", "Lösenord: ", "Felaktig inloggning"],
  ["Finnish", "board-tunnus: ", "Salasana: ", "Sisäänkirjautuminen epäonnistui"],
  ["Turkish", "board giriş: ", "Parola: ", "Giriş geçersiz"],
  ["Czech", "Přihlašovací jméno na board: ", "Heslo: ", "Chybné přihlášení"],
];
for (const [language, name, password, refusal] of languages) {
  test(`login: in ${language}, and refused in it at the first sign`, () => {
    const words = { name: utf8(name), password: utf8(password), refusal: utf8(refusal) };
    const board = new VirtualBoard(system("# ", true, words));
    board.hold(entering({ login }));
    assert.ok(board.typed.endsWith("\nroot\nsecret\n\x15echo 'a''b'\n"), board.typed);
    const wrong = new VirtualBoard(system("# ", true, words));
    fails(wrong, { login: { user: "root", password: "other" } }, "login-refused", new RegExp(refusal));
    assert.equal(wrong.typed.split("other").length, 2);
  });
}

for (const asked of [
  "Neues Passwort: ",
  "Geben Sie das aktuelle Passwort ein: ",
  "Nouveau mot de passe : ",
  "Mot de passe actuel : ",
  "Contraseña actual: ",
  "Vuelva a escribir la nueva contraseña: ",
  "Nuova password: ",
  "Password attuale: ",
  "Nova senha: ",
  "新しい パスワード: ",
  "新规密码：",
  "새 암호: ",
  "Новый пароль: ",
  "Повторите ввод нового пароля: ",
  "Nowe hasło: ",
  "Nytt lösenord: ",
  "Uusi salasana: ",
  "Yeni parola: ",
  "Zadejte opět nové heslo: ",
]) {
  test(`login: nothing is typed at ${JSON.stringify(asked)}`, () => {
    const board = new VirtualBoard(() => {});
    board.say(utf8(asked));
    fails(board, { login }, "login-refused", new RegExp(`new password: "${asked.trim()}"`));
    assert.equal(board.typed, "");
  });
}

test("login: in words that no catalogue has, the name's prompt after a password is a refusal", () => {
  const words = { name: "station> who? ", password: "word> ", refusal: "nope" };
  const prompts = { login: "who\\?", password: "^word>" };
  const board = new VirtualBoard(system("# ", true, words));
  board.hold(entering({ login: { ...login, prompts } }));
  const wrong = new VirtualBoard(system("# ", true, words));
  const other = { user: "root", password: "other", prompts };
  fails(wrong, { login: other }, "login-refused", /nope.*check user and password/);
  assert.equal(wrong.typed.split("other").length, 2);
});

test("login: a name that the line damaged is typed once more", () => {
  const run = system("# ");
  let damaged = false;
  const board = new VirtualBoard((typed, self) => {
    const arrives = !damaged && typed === "root\n" ? "rot\n" : typed;
    damaged ||= arrives !== typed;
    if (arrives === "rot\n") self.say("rot");
    else if (typed === "root\n") self.say("root");
    run(arrives, self);
  });
  board.hold(entering({ login }));
  assert.ok(damaged);
  assert.equal(board.typed.split("secret").length, 3);
});

test("login: what else the board asks gets the configured answers, whenever it asks", () => {
  let state = "banner";
  const run = shell("# ");
  const board = new VirtualBoard(
    lines((line, self) => {
      const next = (to: string, says: string) => {
        state = to;
        self.say(says);
      };
      if (state === "banner") next("name", "board login: ");
      else if (state === "name") next("password", "Password: ");
      else if (state === "password") next("terminal", "\r\nTerminal type? [unknown] ");
      else if (state === "terminal" && line === "vt100") next("new", "\r\nNew password: ");
      else if (state === "new" && line === "fresh") next("shell", "\r\n# ");
      else if (state === "shell") run(line, self);
    }),
  );
  board.say("Please press Enter to activate this console.");
  const answers = [
    { expect: "New password:", send: "fresh" },
    { expect: "Terminal type", send: "vt100" },
    { expect: "press Enter to activate", send: "" },
  ];
  board.hold(entering({ login: { ...login, answers } }));
  assert.equal(board.typed, "\nroot\nsecret\nvt100\nfresh\n\x15echo 'a''b'\n");
});

test("login: an answer that the board doesn't take is given three times", () => {
  const board = new VirtualBoard(lines((_, self) => self.say("Region? ")));
  board.say("Region? ");
  const answers = [{ expect: "Region", send: "EU" }];
  fails(board, { login: { ...login, answers } }, "noise", /Region/);
  assert.equal(board.typed.split("EU\n").length, 4);
});

test("login: a password prompt that somebody left doesn't get ours", () => {
  let asked = true;
  const rest = system("# ");
  const board = new VirtualBoard((typed, self) => {
    if (!asked || !typed.includes("\n")) return rest(typed, self);
    asked = false;
    assert.doesNotMatch(typed, /secret/);
    self.say("\r\nLogin incorrect\r\nboard login: ", 1000);
  });
  board.say("Password: ");
  board.hold(entering({ login }));
});

for (const asked of [
  "New password: ",
  "\r\nYou are required to change your password immediately (administrator enforced).\r\nCurrent password: ",
  "Changing password for root\r\nNew password: ",
  "Retype new password: ",
  "(current) UNIX password: ",
  "Enter new UNIX password: ",
  "Old Password: ",
  "Your password has expired.\r\nPassword: ",
]) {
  test(`login: nothing is typed at ${JSON.stringify(asked)}`, () => {
    const board = new VirtualBoard(() => {});
    board.say(asked);
    fails(board, { login }, "login-refused", /new password: ".*assword:"/i);
    assert.equal(board.typed, "");
    const expired = new VirtualBoard(
      lines((line, self) => {
        if (line === "root") self.say("Password: ");
        else if (line === "secret") self.say(`\r\n${asked}`, 500);
      }),
    );
    expired.say("board login: ");
    fails(expired, { login }, "login-refused", /new password: ".*assword:"/i);
    assert.equal(expired.typed, "root\nsecret\n");
  });
}

test("login: a restarted board that is silent before it looks for keys isn't stopped", () => {
  const board = new VirtualBoard(system("# "));
  board.say("[    0.000000] Booting Linux on physical CPU 0x0\r\n", 9000);
  board.say("[    0.000000] Linux version 6.1\r\n", 9001);
  board.say("\r\nboard login: ", 14_000);
  board.hold(entering({ login, isBooting: true }));
  assert.equal(board.typed, "root\nsecret\n\x15echo 'a''b'\n");
});

test("login: a restarted board that says nothing gets a single line end, once it has been silent for long", () => {
  let at = 0;
  const run = system("# ");
  const board = new VirtualBoard((typed, self) => {
    at ||= self.now;
    run(typed, self);
  });
  board.hold(entering({ login, isBooting: true }));
  assert.ok(at >= 15_000 && at < 16_000, `${at}`);
  assert.match(board.typed, /^\n\w/);
});

test("login: a slow profile gets nothing but line ends", () => {
  let isReady = false;
  const run = shell("# ");
  const board = new VirtualBoard(
    lines((line, self) => {
      if (isReady) return run(line, self);
      if (line === "root") self.say("Password: ");
      else if (line === "secret") self.say("\r\nWelcome\r\n", 100);
    }),
  );
  board.say("board login: ");
  const say = board.say.bind(board);
  say("# ", 15_000);
  const held = entering({ login });
  board.hold(
    (function* () {
      let state = held.next();
      while (!state.done) {
        if (board.now > 15_000) isReady = true;
        state = held.next(yield state.value);
      }
    })(),
  );
  assert.match(board.typed.replace("\x15echo 'a''b'\n", "probe"), /^root\nsecret\n\n+probe$/);
});

test("login: silence, noise, wrong speed, panic", () => {
  fails(
    new VirtualBoard(() => {}),
    { timeout: 20_000 },
    "silent",
    /nothing, also after ".+" was sent: is it on/,
  );
  const noisy = new VirtualBoard(() => {});
  for (let at = 0; at < 100; at++) noisy.say("some text of a program\r\n", at * 300);
  fails(noisy, { timeout: 20_000 }, "noise", /no shell prompt, also after ".+" was sent; last: .*program/);
  const fast = new VirtualBoard(() => {});
  for (let at = 0; at < 100; at++) fast.say("\x80\xfe\x00\x78\xf0\x86\x18\xe6\xff\x9c\x1e\xf8", at * 300);
  fails(fast, { timeout: 20_000 }, "wrong-speed", /baud rate/);
  const panicking = new VirtualBoard(() => {});
  panicking.say("[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n", 5000);
  fails(panicking, { timeout: 60_000 }, "panic", /Unable to mount root/);
  assert.ok(panicking.now < 10_000);
});

for (const asked of [
  "Continue with the installation? [Y/n] ",
  "Overwrite the disk (yes/no)? ",
  "Are you sure you want to continue connecting (yes/no/[fingerprint])? ",
  "1) Install\r\n2) Rescue\r\nYour choice [1]: ",
  "Select an option: ",
  "--- Board setup ---\r\nPress any key to continue",
  "Give root password for maintenance\r\n(or press Control-D to continue): ",
]) {
  test(`login: nothing is typed at the question ${JSON.stringify(asked)}`, () => {
    const board = new VirtualBoard(() => {});
    board.say(asked);
    fails(
      board,
      { login },
      "noise",
      /a question stands on the board's console: ".*"; nothing was typed there/,
    );
    assert.equal(board.typed, "");
    assert.ok(board.now < 5000, `${board.now}`);
  });
}

for (const [asked, way] of [
  ["some text\r\n--More--", "q"],
  ["lines 1-23/80", "q"],
  ["words\r\n(END)", "q"],
  ["(q)  Quit and do nothing.\r\n--- Type one of the keys in parentheses --- ", "q"],
  ["words\r\n:", "q"],
  ["[sudo] password for ci: ", "\x03"],
  ["Enter passphrase for key '/root/.ssh/id_ed25519': ", "\x03"],
  ["root@server's password: ", "\x03"],
] as const) {
  test(`login: ${JSON.stringify(asked)} is left by ${JSON.stringify(way)}`, () => {
    const run = lines(shell("# "));
    let isOver = false;
    const board = new VirtualBoard((typed, self) => {
      if (isOver) return run(typed, self);
      isOver = typed === way;
      self.say(isOver ? "\r\n# " : asked);
    });
    board.say(asked);
    board.hold(entering({ login }));
    assert.ok(board.typed.startsWith(way), JSON.stringify(board.typed));
  });
}

test("login: OpenWrt's console and U-Boot's countdown aren't questions", () => {
  let isActive = false;
  const run = lines(shell("# "));
  const board = new VirtualBoard((typed, self) => {
    if (isActive) return run(typed, self);
    isActive = typed.includes("\n");
    self.say("\r\n# ");
  });
  board.say("Please press Enter to activate this console.");
  board.hold(entering({}));
  const counting = new VirtualBoard(system("# "));
  counting.say("U-Boot 2023.01\r\nPress any key to stop autoboot:  3");
  counting.say("\r\nStarting kernel ...\r\n", 3000);
  counting.say("board login: ", 6000);
  counting.hold(entering({ login }));
  assert.equal(counting.typed, "root\nsecret\n\x15echo 'a''b'\n");
});

test("login: U-Boot's shell, which answers echo, is none of Linux", () => {
  const run = lines((line, board) => {
    if (line.includes("echo")) board.say("Unknown command 'stty' - try 'help'\r\nab\r\n");
    board.say("=> ", 2);
  });
  const board = new VirtualBoard(run);
  board.say("=> ");
  fails(board, { login }, "noise", /stands at U-Boot's prompt and hasn't started Linux/);
  // One without `echo`.
  const bare = new VirtualBoard(lines((_line, self) => self.say("=> ")));
  fails(bare, { login, timeout: 20_000 }, "noise", /stands at U-Boot's prompt/);
});

for (const [what, said] of [
  ["repeats its line", () => "appd: heartbeat"],
  ["counts", (at: number) => `appd: heartbeat ${at}, rx ${(at * 7919).toString(16)} of 0x${at}`],
  ["says something else each time", (at: number) => Array.from(String(at), (n) => "ghijklmnop"[+n]).join("")],
] as const) {
  test(`login: a daemon that never pauses and ${what} costs seconds, not half a minute`, () => {
    const board = new VirtualBoard(lines(shell("# ")));
    for (let at = 0; at < 400; at++) board.say(`${said(at)}\r\n`, at * 150);
    board.hold(entering({ login }));
    assert.ok(board.now < 15_000, `${board.now}`);
  });
}

for (const [what, said] of [
  ["a countdown", (at: number) => `Autoboot in ${400 - at} s`],
  ["a countdown in its line", (at: number) => `Hit any key to stop: ${400 - at}`],
  ["services that start", (at: number) => `[  OK  ] Started service ${at}.`],
] as const) {
  test(`login: ${what} isn't taken for a daemon`, () => {
    const board = new VirtualBoard(() => {});
    for (let at = 0; at < 200; at++) board.say(`${said(at)}\r\n`, at * 150);
    fails(board, { timeout: 25_000 }, "noise", /./);
    assert.equal(board.typed, "");
  });
}

test("login: a flood of ten million bytes costs linear time", () => {
  const board = new VirtualBoard(() => {}, 4096);
  for (let at = 0; at < 100; at++) board.say(`${"x".repeat(99)}\n`.repeat(1000), at * 100);
  fails(board, { timeout: 12_000 }, "noise", /xxx/);
});
