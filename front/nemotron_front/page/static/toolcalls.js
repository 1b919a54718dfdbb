// Tool calls: what the model calls, and fields for what the tools give back.

import { copyButton, el, icon } from "./dom.js";
import { S } from "./strings.js";

function readable(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** The calls of a message; with `give`, a form whose results go there as a list of strings in the calls' order. */
export function callView(calls, whole, give) {
  const fields = [];
  const cards = calls.map((call, i) => {
    const text = whole ? readable(call.arguments) : call.arguments;
    const card = el(
      "section",
      { class: "call card", "aria-label": S.call(call.name) },
      el(
        "div",
        { class: "code-bar" },
        el("span", {}, icon("tool"), el("strong", { text: S.call(call.name) })),
        copyButton(() => call.arguments),
      ),
      el("pre", { text, tabindex: 0, "aria-label": S.arguments }),
    );
    if (give) {
      const field = el("textarea", { rows: 2, id: `result-${call.id}-${i}`, placeholder: S.resultHint });
      fields.push(field);
      card.append(el("label", { text: S.result(call.name), for: field.id }), field);
    }
    return card;
  });
  if (!give) return el("div", {}, ...cards);
  const submit = (event) => {
    event.preventDefault();
    give(fields.map(({ value }) => value));
  };
  const send = el("button", { type: "submit", class: "primary" }, el("span", { text: S.sendResults }));
  return el("form", { class: "results", on: { submit } }, ...cards, el("div", { class: "bar end" }, send));
}
