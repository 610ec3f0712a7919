// The texts of the scripts in the language of the page. Their English is their key.

const { texts: url } = document.documentElement.dataset;
const texts = url ? await fetch(url).then((response) => response.json()).catch(() => ({})) : {};

/** Return a text of the catalogue in the language of the page, with `values` in place of {name}. */
export function t(text, values = {}) {
  return (texts[text] ?? text).replace(/\{(\w+)\}/g, (place, name) => values[name] ?? place);
}
