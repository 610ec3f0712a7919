// Text of a terminal as nodes: colours (SGR) become classes, and nothing ever becomes markup.

const MAX_SPANS = 200; // of one line; the rest of it has no colour
const SEQUENCE = /\x1b\[([0-9;]*)m|\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?/g;
const KNOWN = /^(?:[1-47]|[39][0-7]|4[0-7]|10[0-7])$/;

/** Return the nodes of one line. */
export function lineNodes(line) {
  if (!line.includes("\x1b")) return [document.createTextNode(line)];
  const nodes = [];
  let style = [];
  let position = 0;
  const add = (text) => {
    if (!text) return;
    if (!style.length || nodes.length >= MAX_SPANS) return nodes.push(document.createTextNode(text));
    const span = document.createElement("span");
    span.className = style.map((code) => `ansi-${code}`).join(" ");
    span.textContent = text;
    nodes.push(span);
  };
  for (const match of line.matchAll(SEQUENCE)) {
    add(line.slice(position, match.index));
    position = match.index + match[0].length;
    if (match[1] !== undefined) style = restyled(style, match[1]);
  }
  add(line.slice(position));
  return nodes;
}

/** Return the codes in force after a sequence of codes. Colours of 256 or more are left out. */
function restyled(style, numbers) {
  let next = style;
  const codes = numbers.split(";", 32);
  for (let index = 0; index < codes.length; index += 1) {
    const code = codes[index];
    if (Number(code) === 0) next = [];
    else if (code === "38" || code === "48") index += codes[index + 1] === "5" ? 2 : 4;
    else if (code === "39") next = next.filter((one) => !isInk(one));
    else if (code === "49") next = next.filter((one) => !isPaper(one));
    else if (KNOWN.test(code)) next = [...next.filter((one) => one !== code && !replaces(code, one)), code];
  }
  return next;
}

const isInk = (code) => /^[39][0-7]$/.test(code);
const isPaper = (code) => /^(4|10)[0-7]$/.test(code);
const replaces = (code, other) => (isInk(code) && isInk(other)) || (isPaper(code) && isPaper(other));

/** Return a raw line as a terminal shows it: what follows a carriage return is written over the line. */
export function overwritten(line) {
  if (!line.includes("\r")) return line;
  const parts = line.replace(/\r+$/, "").split("\r");
  if (parts.length === 1) return parts[0];
  const plain = parts.slice(-100).map((part) => part.replace(SEQUENCE, ""));
  return plain.reduce((screen, part) => part + screen.slice(part.length), "");
}
