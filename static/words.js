// Texts of the scripts in the reader's language: the page brings the translations along (module Script).

const known = Object.assign({}, ...[...document.querySelectorAll('meta[name="words"]')].map((meta) => JSON.parse(meta.content)));

// The text is the key in locale/*.csv, so it stands in the call itself; values: for its placeholders, as %(name)s.
export function t(text, values = {}) {
  return (known[text] ?? text).replace(/%\((\w+)\)[sd]/g, (_, name) => values[name]);
}
