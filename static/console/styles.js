// xterm.js writes its colours and sizes into <style> elements and style attributes, which the page's
// Content-Security-Policy forbids. Here <style> elements become stand-ins whose text goes into a constructed style
// sheet, and the attribute is set through the CSSOM; both are allowed. (xterm's option documentOverride does not
// reach all of its parts.) To be imported before a terminal is made.

const { createElement } = Document.prototype;
const { setAttribute } = Element.prototype;

document.createElement = function (name, options) {
  return String(name).toLowerCase() === "style" ? sheetElement() : createElement.call(document, name, options);
};

Element.prototype.setAttribute = function (name, value) {
  if (name === "style") this.style.cssText = value;
  else setAttribute.call(this, name, value);
};

function sheetElement() {
  const element = createElement.call(document, "span");
  const sheet = new CSSStyleSheet();
  let text = "";
  element.hidden = true;
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  Object.defineProperty(element, "textContent", {
    get: () => text,
    set(value) {
      text = value;
      sheet.replaceSync(value);
    },
  });
  element.remove = () => {
    Element.prototype.remove.call(element);
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((other) => other !== sheet);
  };
  return element;
}
