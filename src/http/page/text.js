// Text from outside as a person may see it: nothing in it turns the direction of writing or breaks a line.

/** Control characters, separators of lines, and the controls of Unicode's bidirectional algorithm, as in visible.rs. */
const OBEYED = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

/** The text with the number of each in its place, as JSON has it: \u202e for the override to the left. */
export function visible(text) {
  return text.replace(OBEYED, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** The same of several lines, whose ends stay. */
export function visibleLines(text) {
  return text.split("\n").map(visible).join("\n");
}

/** The text as one word of a shell: plain quotes, or those of POSIX.1-2024 where it has such characters. */
export function shellWord(text) {
  if (visible(text) === text) {
    return `'${text.replaceAll("'", "'\\''")}'`;
  }
  const octal = (byte) => `\\${byte.toString(8).padStart(3, "0")}`;
  const bytes = (c) => [...new TextEncoder().encode(c)].map(octal).join("");
  return `$'${text.replace(/['\\]/g, "\\$&").replace(OBEYED, bytes)}'`;
}
