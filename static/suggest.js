// Suggestions for a text field, asked for while typing; without this the field is still a plain text field.

const WAIT = 200; // milliseconds after the last key

const fold = (text) => text.replaceAll("_", " "); // as names of time zones are shown

for (const field of document.querySelectorAll("input[data-suggest]")) {
  let timer = 0;
  let asked = "";
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const text = field.value.trim();
      if (text === asked) return;
      asked = text;
      try {
        const response = await fetch(`${field.dataset.suggest}?q=${encodeURIComponent(text)}`);
        if (!response.ok || text !== asked) return;
        const { suggestions } = await response.json();
        // Firefox shows the label alone, and of all options only those whose label has in it what was typed.
        field.list.replaceChildren(...suggestions.map(({ value, text: label }) => {
          const option = document.createElement("option");
          option.value = value;
          option.textContent = fold(label) === fold(value) ? label : [label, value].filter(Boolean).join(" · ");
          return option;
        }));
      } catch {
        // No suggestions then; the server checks what was typed.
      }
    }, WAIT);
  });
}
