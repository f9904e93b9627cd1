/** Writes a firmware's test cases as a JUnit report. */
import type { TestCase } from "./harness.ts";

const elements = { failed: "failure", error: "error", skipped: "skipped" } as const;

/**
 * The report of one run. What the board said is in it as text, whatever it is: markup is escaped, and characters that XML 1.0
 * doesn't allow become U+FFFD.
 * @param suite for cases that have none
 */
export function junitReport(cases: readonly TestCase[], suite: string): string {
  const suites = new Map<string, TestCase[]>();
  for (const one of cases) {
    const name = one.suite || suite;
    const members = suites.get(name);
    if (members) members.push(one);
    else suites.set(name, [one]);
  }
  const body = [...suites].map(([name, members]) => suiteElement(name, members)).join("");
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n${body}</testsuites>\n`;
}

function suiteElement(name: string, cases: readonly TestCase[]): string {
  const count = (status: TestCase["status"]) => cases.filter((one) => one.status === status).length;
  const time = cases.reduce((sum, one) => sum + one.time, 0).toFixed(3);
  const counts = `tests="${cases.length}" failures="${count("failed")}" errors="${count("error")}" skipped="${count("skipped")}"`;
  const body = cases.map((one) => caseElement(name, one)).join("");
  return `  <testsuite name="${xmlText(name)}" ${counts} time="${time}">\n${body}  </testsuite>\n`;
}

function caseElement(suite: string, one: TestCase): string {
  const open = `    <testcase classname="${xmlText(suite)}" name="${xmlText(one.name)}" time="${one.time.toFixed(3)}"`;
  if (one.status === "passed") return `${open}/>\n`;
  const element = elements[one.status];
  const message = one.message === undefined ? "" : ` message="${xmlText(one.message)}"`;
  return `${open}><${element}${message}>${xmlText(one.details ?? "")}</${element}></testcase>\n`;
}

const names: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

/** For text and attributes alike; in an attribute a line end would be read as a space. */
function xmlText(text: string): string {
  return text
    .toWellFormed()
    .replace(/[^\t\n\r\x20-\uFFFD\u{10000}-\u{10FFFF}]/gu, "\uFFFD")
    .replace(/[&<>"]/g, (char) => names[char] ?? "")
    .replace(/[\t\n\r]/g, (char) => `&#${char.charCodeAt(0)};`);
}
