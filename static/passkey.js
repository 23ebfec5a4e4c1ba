// Passkeys: asks the browser what the form says, puts the answer into the form and sends it.

import { t } from "./words.js";

const toBytes = (text) => {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (character) => character.charCodeAt(0));
};
const toText = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");

// WebAuthn Level 3 has parseCreationOptionsFromJSON() and toJSON() for this; browsers of 2024 do not.
const described = (list = []) => list.map((item) => ({ ...item, id: toBytes(item.id) }));

async function create(options) {
  const made = await navigator.credentials.create({
    publicKey: {
      ...options,
      challenge: toBytes(options.challenge),
      user: { ...options.user, id: toBytes(options.user.id) },
      excludeCredentials: described(options.excludeCredentials),
    },
  });
  const { clientDataJSON, attestationObject } = made.response;
  return {
    id: made.id,
    rawId: made.id,
    type: made.type,
    response: {
      clientDataJSON: toText(clientDataJSON),
      attestationObject: toText(attestationObject),
      transports: made.response.getTransports?.() ?? [],
    },
  };
}

async function get(options) {
  const shown = await navigator.credentials.get({
    publicKey: {
      ...options,
      challenge: toBytes(options.challenge),
      allowCredentials: described(options.allowCredentials),
    },
  });
  const { clientDataJSON, authenticatorData, signature, userHandle } = shown.response;
  return {
    id: shown.id,
    rawId: shown.id,
    type: shown.type,
    response: {
      clientDataJSON: toText(clientDataJSON),
      authenticatorData: toText(authenticatorData),
      signature: toText(signature),
      userHandle: userHandle ? toText(userHandle) : null,
    },
  };
}

const words = {
  NotAllowedError: t("That was cancelled, or took too long. Try again."),
  InvalidStateError: t("This passkey is in use for your account already."),
  SecurityError: t("The portal is not open at its own address, so the browser does not ask for passkeys here."),
};

for (const form of document.querySelectorAll("form[data-passkey]")) {
  const message = form.querySelector("[data-message]");
  const button = form.querySelector("button");
  if (!window.PublicKeyCredential) {
    message.textContent = t("This browser has no passkeys.");
    message.hidden = false;
    button.disabled = true;
    continue;
  }
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    message.hidden = true;
    button.disabled = true;
    try {
      const options = JSON.parse(form.dataset.options);
      const answer = await (form.dataset.passkey === "create" ? create : get)(options);
      form.elements.answer.value = JSON.stringify(answer);
      form.submit();
    } catch (error) {
      message.textContent = words[error.name] ?? t("The browser could not use a passkey. Reload the page and try again.");
      message.hidden = false;
      button.disabled = false;
    }
  });
}
