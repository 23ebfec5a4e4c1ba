// The snapshots that the chosen machines have in common: asked for after the page has been drawn, as many machines take
// their time.

const field = document.querySelector("[data-snapshots]");
const looking = field.querySelector("[data-looking]");
const other = field.querySelector("[name=other]");
const free = field.querySelector("input[name=snapshot][value='']");

function choice(name) {
  const label = document.createElement("label");
  label.className = "flag";
  const radio = document.createElement("input");
  radio.type = "radio";
  radio.name = "snapshot";
  radio.value = name;
  const words = document.createElement("span");
  words.textContent = name;
  label.append(radio, words);
  if (name === field.dataset.given) radio.checked = true;
  return label;
}

async function look() {
  const query = new URLSearchParams();
  for (const vm of field.form.querySelectorAll("[name=vm]")) query.append("vm", vm.value);
  looking.hidden = false;
  try {
    const response = await fetch(`${field.dataset.snapshots}?${query}`, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(40_000) });
    if (!response.ok) throw new Error(String(response.status));
    const { names, message } = await response.json();
    looking.before(...names.map(choice));
    looking.textContent = message;
    looking.hidden = !message;
    const first = field.querySelector("input[name=snapshot]");
    if (free.checked && !other.value && first !== free) first.checked = true;
  } catch {
    looking.hidden = true;
  }
}

other.addEventListener("input", () => { free.checked = true; });
look();
