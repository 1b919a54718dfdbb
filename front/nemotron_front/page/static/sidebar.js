// The list of conversations: search, open, rename, export, delete, import.

import { askTitle, confirmDelete } from "./dialogs.js";
import { button, byId, download, el } from "./dom.js";
import { Unfit } from "./store.js";
import { S } from "./strings.js";

export class Sidebar {
  #store;
  #actions;
  #open = null;
  #latest = 0;
  #stale = false;

  /**
   * `actions`: open(id), rename(id, title), delete(id), warn(text), leave(id) before an import replaces a conversation,
   * imported() afterwards.
   */
  constructor(store, actions) {
    this.#store = store;
    this.#actions = actions;
    this.list = byId("conversations");
    this.search = byId("search");
    this.search.addEventListener("input", () => this.refresh());
    this.search.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.list.querySelector(".open")?.click();
    });
    byId("export-all").addEventListener("click", () => this.#export(null, "conversations"));
    const picker = byId("import-file");
    byId("import").addEventListener("click", () => picker.click());
    picker.addEventListener("change", async () => {
      await this.#import(picker.files[0]);
      picker.value = "";
    });
    byId("open-sidebar").addEventListener("click", () => this.toggle());
    byId("close-sidebar").addEventListener("click", () => this.toggle(false));
    byId("backdrop").addEventListener("click", () => this.toggle(false));
    this.narrow = matchMedia("(max-width: 800px)");
    this.narrow.addEventListener("change", () => this.toggle(!this.narrow.matches));
    this.toggle(!this.narrow.matches, false);
  }

  /** Shows or hides the list; over the page on a phone. */
  toggle(shown = !this.shown, focus = true) {
    this.shown = shown;
    document.documentElement.classList.toggle("no-sidebar", !shown);
    byId("backdrop").hidden = !(shown && this.narrow.matches);
    byId("sidebar").inert = !shown;
    byId("open-sidebar").setAttribute("aria-expanded", String(shown));
    if (focus) (shown ? this.search : byId("open-sidebar")).focus();
  }

  /** On a phone the list covers the page, so it goes once something was chosen. */
  chosen() {
    if (this.narrow.matches && this.shown) this.toggle(false, false);
  }

  /** Draws the list; `open` is the id of the conversation that is shown. */
  async refresh(open = this.#open) {
    this.#open = open;
    const turn = ++this.#latest;
    const text = this.search.value.trim();
    const [all, found] = await Promise.all([this.#store.list(), text ? this.#store.search(text) : null]);
    if (turn !== this.#latest) return;
    // A menu that is open would be gone.
    this.#stale = this.list.querySelector(".more[open]") !== null;
    if (this.#stale) return;
    const shown = found ? all.filter(({ id }) => found.has(id)) : all;
    const focused = document.activeElement?.closest?.("#conversations li > *");
    const place = focused?.matches(".more") ? ".more summary" : ".open";
    const row = focused?.parentElement.dataset.id;
    this.list.replaceChildren(...shown.map((conversation) => this.#row(conversation)));
    if (!shown.length)
      this.list.append(el("li", { class: "quiet none", text: found ? S.nothingFound(text) : S.noConversations }));
    if (row) this.list.querySelector(`[data-id="${CSS.escape(row)}"] ${place}`)?.focus();
  }

  #row({ id, title }) {
    const name = title || S.untitled;
    const act = (label, does) => button({ text: label, click: () => (more.removeAttribute("open"), does()) });
    const more = el(
      "details",
      {
        class: "more",
        on: {
          keydown: (event) => {
            if (event.key !== "Escape" || !more.open) return;
            // Elsewhere it stops the answer.
            event.stopPropagation();
            more.open = false;
            more.firstElementChild.focus();
          },
          toggle: () => more.open || !this.#stale || this.refresh(),
          focusout: (event) => more.contains(event.relatedTarget) || (more.open = false),
        },
      },
      el("summary", { "aria-label": S.more(name), title: S.more(name), text: "⋯" }),
      el(
        "div",
        { class: "menu" },
        act(S.rename, () => this.#rename(id, title)),
        act(S.exportOne, () => this.#export([id], name)),
        act(S.delete, () => this.#delete(id, name)),
      ),
    );
    const current = id === this.#open;
    const openIt = el("button", {
      type: "button",
      class: "open",
      title: name,
      text: name,
      "aria-current": current ? "page" : null,
      on: { click: () => this.#actions.open(id) },
    });
    return el("li", { data: { id } }, openIt, more);
  }

  async #rename(id, title) {
    const given = await askTitle(title);
    if (given) await this.#actions.rename(id, given);
  }

  async #delete(id, name) {
    if (!(await confirmDelete(name))) return;
    await this.#actions.delete(id);
    this.search.focus();
  }

  async #export(ids, name) {
    const safe =
      name
        .replace(/[^\p{L}\p{N}]+/gu, "-")
        .replace(/^-|-$/g, "")
        .slice(0, 40) || "conversation";
    download(`${safe}.json`, await this.#store.export(ids));
  }

  async #import(file) {
    try {
      const [added, known] = await this.#store.import(await file.text(), this.#actions.leave);
      this.#actions.warn(S.imported(added, known));
    } catch (error) {
      this.#actions.warn(error instanceof Unfit ? error.message : S.importFailed(error.message));
    } finally {
      await this.#actions.imported();
      this.refresh();
    }
  }
}
