/**
 * What a login asks and how it refuses, in the languages of the usual distributions: the prompts of agetty, login, PAM and busybox.
 * The words are those of the message catalogues of Linux-PAM 1.5.2, shadow 4.13 and util-linux 2.38: "login: ", "Password: ",
 * "Login incorrect", "Authentication failure", "Password incorrect" and "User account has expired".
 */
import { compilePattern } from "../matcher.ts";

/** Also behind a host's name, as in `board Anmeldung:`. */
const names = `login|logind|anmeldung|connexion|identifiant|inicio de sesión|nombre(?: de usuario)?|entrada|usuari|izena|sessão
credencial|autentificare|inloggning|användarnamn|logg inn|gebruikersnaam|inlognaam|tunnus|sisäänkirjautuminen|přihlašovací jméno
prihlasovacie meno|prijava|пријава|bejelentkezés|belépő|felhasználónév|учетная запись|имя пользователя|логин|запис|користувач|влизане
giriş|kullanıcı ismi|masuk|đăng nhập|ログイン|로그인|登录|登入|用户名|使用者|כניסה|تسجيل الدخول`;

const passwords = `passwort|mot de passe|contraseña|contrasenya|contrasinal|pasahitza|senha|palavra-passe|parol[aăe]?|lösenord|passord
adgangskode|wachtwoord|salasana|parool|heslo|hasło|geslo|lozinka|лозинка|šifra|jelszó|пароль|парола|συνθηματικό|şifre|kata sandi|sandi
mật khẩu|パスワード|암호|密码|密碼|סיסמה|ססמה|كلمة السر`;

/** The same words as they stand in a sentence. */
const passwordStems = `passwort|mot de passe|contraseña|contrasenya|contrasinal|pasahitz|senha|palavra-passe|parol|lösenord|passord
adgangskode|wachtwoord|salasana|hesl|hasł|gesl|lozink|лозинк|šifr|jelsz|парол|συνθηματικ|şifre|sandi|mật khẩu|パスワード|암호|密码|密碼
סיסמ|ססמ|كلمة سر`;

const refusals = `login incorrect|authentication failure|permission denied|account .{0,20}(?:locked|expired)
login fehlerhaft|anmeldung falsch|passwort ist falsch|fehler bei authentifizierung|benutzerkonto ist abgelaufen|konto ist abgelaufen
identifiant incorrect|mot de passe incorrect|échec de l.authentification|compte .{0,20}a expiré
identificación incorrecta|inicio de sesión incorrecto|contraseña incorrecta|fallo de autenticación|cuenta .{0,20}ha caducado
login non corretto|autenticazione non riuscita|account .{0,20}scaduto|login incorreto|login incorrecto|início incorrecto
senha incorret|senha incorrect|falha de autenticação|conta .{0,20}expirou|gebruikersnaam is onjuist|inloggegevens onjuist|authenticatiefout
inloggning misslyckad|felaktig inloggning|autentiseringsfe[il]+|ugyldig innlogging|forkert logind|logind ugyldigt|fejl ved godkendelse
epäonnistui|tunnistautumisvirhe|chybné p[řr]ihl[aá][sš]|chybné heslo|selhání autentizace|zlyhanie overenia
nieprawidłowe logowanie|niepoprawne (?:logowanie|hasło)|uwierzytelnienie się nie powiodło|hibás bejelentkezés|hitelesítési hiba
неверн(?:ое имя|ый логин)|сбой при проверке подлинности|некоректний|помилка розпізнавання|giriş (?:geçersiz|başarısız)|yetkilendirme hatası
ログインが(?:違います|失敗しました)|認証失敗|로그인이 맞지|인증 실패|登录(?:错误|不正确)|登入(?:錯誤|不正確)|密码不正确|鉴定故障|驗證失敗`;

/** Of a prompt. */
const maxLineLength = 200;

const anyOf = (words: string) => words.replaceAll("\n", "|");
const end = String.raw`[ \u00a0]*[:：] *$`;
const noLetterBefore = String.raw`(?<![\p{L}\p{N}])`;

const namePrompt = new RegExp(
  String.raw`^.{0,80}(?:${noLetterBefore}(?:${anyOf(names)})|login \S{1,64}|přihlašovací jméno na \S{1,64})${end}`,
  "iu",
);
const englishPassword = new RegExp(`password(?: for [^:]{1,40})?${end}`, "iu");
const passwordPrompt = new RegExp(String.raw`^(?:\[sudo\] [^:]{0,60})?(?:${anyOf(passwords)})${end}`, "iu");
/** Of su and sudo: `[sudo] Passwort für root:`. */
const sudoPrompt = new RegExp(String.raw`^\[sudo\] [^:]{0,80}${end}`, "u");
const newPasswordPrompt = new RegExp(
  [
    String.raw`\b(?:new|re-?type|re-?enter|repeat|confirm|again|current|old|set|choose|create|nuova|vecchia|bagong)\b[^:]{0,60}\bpassw(?:or)?d\b[^:]{0,40}${end}`,
    String.raw`\bpassword\b[^:]{0,20}\b(?:again|confirmation|attuale)\b[^:]{0,20}${end}`,
    // In other languages, every sentence about a password that isn't the plain prompt.
    `(?:${anyOf(passwordStems)})[^:：]{0,60}${end}`,
  ].join("|"),
  "iu",
);
const refusal = new RegExp(anyOf(refusals), "iu");
const mustChangePassword =
  /\b(?:changing|change your|expired)\b[^\n]{0,40}\bpassword|\bpassword\b[^\n]{0,40}\bexpired/i;

/** What stands at the end of a board's output. */
export type Asks = "name" | "password" | "new-password" | undefined;

/** @param text UTF-8, without carriage returns */
export function asks(text: string): Asks {
  const line = lastLine(text);
  if (namePrompt.test(line)) return "name";
  const isPlain = englishPassword.test(line) || passwordPrompt.test(line) || sudoPrompt.test(line);
  // A password typed there would become the user's new one.
  if (isPlain && mustChangePassword.test(text)) return "new-password";
  if (passwordPrompt.test(line) || sudoPrompt.test(line)) return "password";
  if (newPasswordPrompt.test(line)) return "new-password";
  return isPlain ? "password" : undefined;
}

/** @param output bytes as they came @returns whether a login stands at its end, so that a shell that was there is gone */
export function asksLogin(output: string): boolean {
  return asks(Buffer.from(output.replaceAll("\r", ""), "latin1").toString("utf8")) !== undefined;
}

/** @returns the line by which the board refuses a login */
export function refusalIn(text: string): string | undefined {
  return text
    .split("\n")
    .find((line) => refusal.test(line))
    ?.trim();
}

/** @param text without escape sequences */
export function lastLine(text: string): string {
  return text
    .slice(text.lastIndexOf("\n") + 1)
    .slice(-maxLineLength)
    .trim();
}

/** Of one question in a login: a board that repeats it doesn't take the answer. */
const maxAnswers = 3;

/** What the configuration knows of a board's login. */
export interface OwnQuestions {
  /** The board's own prompts, if they aren't usual ones. */
  readonly prompts?: { readonly login?: string; readonly password?: string };
  /** Answers to what else the board asks before its shell. */
  readonly answers?: readonly { readonly expect: string; readonly send: string }[];
}

interface Question {
  readonly pattern: Pattern;
  readonly answer: string;
  /** How often it may still be answered. */
  left: number;
}

type Pattern = ReturnType<typeof compilePattern>;

/** What the board asks, by the configuration or in its own words. */
export class Questions {
  readonly #name: Pattern | undefined;
  readonly #password: Pattern | undefined;
  readonly #others: readonly Question[];

  constructor({ prompts, answers = [] }: OwnQuestions = {}) {
    this.#name = prompts?.login === undefined ? undefined : compilePattern(prompts.login);
    this.#password = prompts?.password === undefined ? undefined : compilePattern(prompts.password);
    this.#others = answers.map(({ expect, send }) => ({
      pattern: compilePattern(expect),
      answer: send,
      left: maxAnswers,
    }));
  }

  /** @returns what stands at the end of the text; a question with a configured answer may stand anywhere in it */
  asked(text: string): Asks | Question {
    const question = this.#others.find(({ pattern, left }) => left > 0 && pattern.test(text));
    if (question) return question;
    const line = lastLine(text);
    if (this.#name?.test(line)) return "name";
    if (this.#password?.test(line)) return "password";
    return asks(text);
  }
}
