// Dialogs: the browser's own <dialog>, which keeps the focus inside and closes on Esc.

import { button, copyButton, el } from "./dom.js";
import { asCurl, asPython } from "./request.js";
import { S } from "./strings.js";

/** Opens a dialog with a title; `fill(close)` gives what is in it. Resolves to what `close` is called with, or null. */
export function open(title, fill, { wide = false } = {}) {
  return new Promise((resolve) => {
    const before = document.activeElement;
    const close = (value = null) => {
      resolve(value);
      dialog.close();
    };
    const heading = el("h2", { text: title, id: "dialog-title" });
    const bar = el(
      "div",
      { class: "bar" },
      heading,
      el("span", { class: "space" }),
      button({ icon: "close", label: S.close, click: () => close() }),
    );
    const dialog = el("dialog", { class: wide ? "wide" : null, "aria-labelledby": "dialog-title" }, bar);
    dialog.append(...fill(close));
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) close();
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      // The event comes late: the user may have gone on to something else by then.
      if (document.activeElement === document.body) before?.focus?.();
      // Esc closes it, too.
      resolve(null);
    });
    document.body.append(dialog);
    dialog.showModal();
    (dialog.querySelector("[autofocus]") ?? dialog.querySelector("input, textarea, select"))?.focus();
  });
}

const endBar = (...children) => el("div", { class: "bar end" }, ...children);

/** Asks for yes or no about something that cannot be undone. */
export function confirmDelete(title) {
  return open(S.deleteTitle, (close) => [
    el("p", { text: S.deleteText(title) }),
    endBar(
      button({ text: S.cancel, click: () => close(), autofocus: true }),
      button({ text: S.delete, class: "danger", click: () => close(true) }),
    ),
  ]);
}

function askText(title, label, { text = "", intro = null, type = "text", action }) {
  return open(title, (close) => {
    const input = el("input", {
      type,
      value: text,
      "aria-label": label,
      autocomplete: "off",
      spellcheck: "false",
      // Not of a key.
      maxlength: type === "text" ? 200 : null,
      autofocus: true,
      required: true,
    });
    const submit = (event) => {
      event.preventDefault();
      if (input.value.trim()) close(input.value.trim());
    };
    return [
      ...(intro ?? []).map((line) => el("p", { text: line })),
      el(
        "form",
        { class: "stack", on: { submit } },
        input,
        endBar(
          button({ text: S.cancel, click: () => close() }),
          el("button", { type: "submit", class: "primary", text: action }),
        ),
      ),
    ];
  });
}

export const askTitle = (text) => askText(S.renameTitle, S.renameTitle, { text, action: S.save });

export const askKey = (refused) =>
  askText(S.keyTitle, S.key, {
    intro: refused ? [S.keyWrong, S.keyText] : [S.keyText],
    type: "password",
    action: S.useKey,
  });

/** The next request as curl and as Python. */
export function showCode(body, keyed) {
  const kinds = [
    [S.curl, asCurl(body, location.origin, keyed)],
    [S.python, asPython(body, location.origin, keyed)],
  ];
  return open(
    S.viewCode,
    () => {
      const pre = el("pre", { class: "source", tabindex: 0, id: "code-text", role: "region", "aria-label": S.viewCode });
      const choose = (i) => {
        pre.textContent = kinds[i][1];
        ways.forEach((way, j) => way.setAttribute("aria-pressed", String(i === j)));
      };
      const ways = kinds.map(([text], i) => button({ text, click: () => choose(i) }));
      choose(0);
      const bar = el(
        "div",
        { class: "bar" },
        el("div", { class: "ways", role: "group", "aria-label": S.viewCode }, ...ways),
        el("span", { class: "space" }),
        copyButton(() => pre.textContent),
      );
      return [el("p", { class: "quiet", text: S.codeText }), bar, pre];
    },
    { wide: true },
  );
}

/** The list of keys. */
export function showShortcuts() {
  const rows = S.shortcutList.map(([keys, what]) =>
    el("tr", {}, el("td", {}, ...keys.split("+").map((key) => el("kbd", { text: key }))), el("td", { text: what })),
  );
  return open(S.shortcuts, () => [el("table", { class: "shortcuts" }, el("tbody", {}, ...rows))]);
}
