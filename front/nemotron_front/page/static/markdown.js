// Shows a growing Markdown text. The server renders it block by block: blocks that cannot change any more are added
// once and stay, what is still open is replaced, and only the text of what is open is sent again. One request at a time.

import { render } from "./api.js";
import { copyButton, el, plainText } from "./dom.js";
import { S } from "./strings.js";

// The least time between two requests of a growing text; a slow server gets as long a rest as it took.
const LEAST_MS = 50;
// Waits between tries where rendering fails.
const RETRY_MS = [500, 2000, 5000];
// As much text as the server takes at once, with room to spare; more is rendered piece by piece.
const LONGEST = 250_000;
// Longer than any model writes: as blocks of HTML it would take the browser minutes.
const MOST = 2_000_000;

// The one place where HTML becomes elements: what the server's sanitizer let through.
const policy = globalThis.trustedTypes?.createPolicy("rendered", { createHTML: (html) => html });

function elements(html) {
  const template = document.createElement("template");
  template.innerHTML = policy ? policy.createHTML(html) : html;
  for (const table of template.content.querySelectorAll("table")) frame(table, "table");
  for (const code of template.content.querySelectorAll("pre")) {
    const copy = copyButton(() => code.textContent.replace(/\n$/, ""), S.copyCode);
    const bar = el("div", { class: "code-bar" }, el("span", { text: code.dataset.lang ?? "" }), copy);
    frame(code, "code-frame").prepend(bar);
    code.tabIndex = 0;
  }
  return template.content;
}

function frame(element, name) {
  const around = el("div", { class: name, tabindex: name === "table" ? 0 : null });
  element.replaceWith(around);
  around.append(element);
  return around;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Markdown {
  #text = "";
  #final = false;
  #consumed = 0;
  #open = null;
  #busy = false;
  #again = false;

  constructor(container) {
    this.container = container;
    container.classList.add("markdown");
  }

  /** Shows a text, which begins with the one before; `final` when it will not grow, but for an answer that goes on. */
  update(text, final) {
    if (text === this.#text && final === this.#final) return;
    // The end of what was whole is in blocks, and may be the middle of one now.
    if (this.#final) this.#again = true;
    this.#text = text;
    this.#final = final;
    if (!this.#busy) this.#run();
  }

  async #run() {
    this.#busy = true;
    this.container.ariaBusy = "true";
    for (let shown = false, failures = 0; !shown;) {
      const began = performance.now();
      const [text, final] = [this.#text, this.#final];
      const again = this.#again;
      const tail = text.slice(again ? 0 : this.#consumed);
      const whole = tail.length <= LONGEST;
      try {
        if (text.length > MOST) throw new RangeError("a text that is too long to render");
        const rendered = await render(tail.slice(0, LONGEST), final && whole);
        if (again) this.#clear();
        this.#show(rendered);
        if (!whole && !rendered.consumed) throw new RangeError("a block that is too long to render");
        failures = 0;
        shown = whole && text === this.#text && final === this.#final;
        if (!shown) await pause(Math.max(LEAST_MS, performance.now() - began));
      } catch (error) {
        // The text itself is better than nothing.
        this.#setOpen(null, plainText(text.slice(this.#again ? 0 : this.#consumed), "block plain"));
        this.container.ariaBusy = String(!final);
        if (failures === RETRY_MS.length || (final && !error.passing)) break;
        await pause(RETRY_MS[failures++]);
      }
    }
    this.#busy = false;
    this.container.ariaBusy = String(!this.#final);
  }

  #clear() {
    this.container.replaceChildren();
    this.#again = false;
    this.#consumed = 0;
    this.#open = null;
  }

  #show({ blocks, open, consumed }) {
    for (const html of blocks) {
      // What was open may be what has become whole: then it stays, with what is selected in it.
      const nodes = this.#open?.html === html ? this.#open.nodes : block(html);
      if (nodes === this.#open?.nodes) this.#open = null;
      else if (this.#open) this.#open.nodes.before(nodes);
      else this.container.append(nodes);
    }
    this.#consumed += consumed;
    if (!open) this.#setOpen(null, null);
    else if (this.#open?.html !== open) this.#setOpen(open, block(open));
  }

  #setOpen(html, nodes) {
    if (this.#open && nodes) this.#open.nodes.replaceWith(nodes);
    else if (this.#open) this.#open.nodes.remove();
    else if (nodes) this.container.append(nodes);
    this.#open = nodes && { html, nodes };
  }
}

function block(html) {
  const nodes = el("div", { class: "block" });
  nodes.append(elements(html));
  return nodes;
}
