// Argument lists as a person types them in a shell.

export function join(words) {
  return words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(" ");
}

export function split(text) {
  const found = [];
  let word = null, quote = "";
  for (let i = 0; i < text.length; i += 1) {
    const char = text[i];
    if (quote) {
      if (char === quote) quote = "";
      else if (char === "\\" && quote === '"' && '"\\$`'.includes(text[i + 1])) { i += 1; word += text[i]; } else word += char;
    } else if (char === "'" || char === '"') { quote = char; word ??= ""; } else if (char === "\\" && i + 1 < text.length) { i += 1; word = (word ?? "") + text[i]; } else if (/\s/.test(char)) {
      if (word !== null) { found.push(word); word = null; }
    } else word = (word ?? "") + char;
  }
  if (word !== null) found.push(word);
  return found;
}
