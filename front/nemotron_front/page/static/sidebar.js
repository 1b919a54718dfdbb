// The list of conversations: search, open, rename, export, delete, import.

import { askTitle, confirmDelete } from "./dialogs.js";
import { arrange, button, byId, download, el } from "./dom.js";
import { Unfit } from "./store.js";
import { S } from "./strings.js";

export class Sidebar {
  #store;
  #actions;
  #open = null;
  #latest = 0;
  #drawing = null;
  #stale = false;
  // By the conversations' ids.
  #rows = new Map();

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
    this.none = el("li", { class: "quiet none" });
    this.search.addEventListener("keydown", async (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      // The first that is found: who types fast is ahead of the list.
      await this.refresh();
      this.list.querySelector(".open")?.click();
    });
    byId("export-all").addEventListener("click", () => this.#export(null, "conversations"));
    const picker = byId("import-file");
    byId("import").addEventListener("click", () => picker.click());
    picker.addEventListener("change", () => {
      const [file] = picker.files;
      picker.value = "";
      this.#import(file);
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

  /** Draws the list; `open` is the id of the conversation that is shown. Resolves once one as new as this is drawn. */
  refresh(open = this.#open) {
    this.#open = open;
    this.#drawing = this.#draw(++this.#latest);
    return this.#drawing;
  }

  async #draw(turn) {
    const text = this.search.value.trim();
    const [all, found] = await Promise.all([this.#store.list(), text ? this.#store.search(text) : null]);
    // What was asked for later is newer.
    if (turn !== this.#latest) return this.#drawing;
    // A menu that is open would be gone.
    this.#stale = this.list.querySelector(".more[open]") !== null;
    if (this.#stale) return;
    const shown = found ? all.filter(({ id }) => found.has(id)) : all;
    this.#rows = new Map(shown.map(({ id }) => [id, this.#rows.get(id) ?? this.#row(id)]));
    for (const { id, title } of shown) this.#rows.get(id).show(title, id === this.#open);
    this.none.textContent = found ? S.nothingFound(text) : S.noConversations;
    const focused = this.list.contains(document.activeElement) ? document.activeElement : null;
    arrange(this.list, shown.length ? shown.map(({ id }) => this.#rows.get(id).element) : [this.none]);
    // What is moved loses it.
    if (focused?.isConnected && focused !== document.activeElement) focused.focus();
  }

  /** The row of a conversation, which stays for as long as that is listed: {element, show(title, current)}. */
  #row(id) {
    let title = "";
    const name = () => title || S.untitled;
    const act = (label, does) =>
      button({
        text: label,
        click: () => {
          more.open = false;
          // Where a dialog gives the focus back to.
          summary.focus();
          does();
        },
      });
    const summary = el("summary", { text: "⋯" });
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
            summary.focus();
          },
          toggle: () => more.open || !this.#stale || this.refresh(),
          focusout: (event) => more.contains(event.relatedTarget) || (more.open = false),
        },
      },
      summary,
      el(
        "div",
        { class: "menu" },
        act(S.rename, () => this.#rename(id, title)),
        act(S.exportOne, () => this.#export([id], name())),
        act(S.delete, () => this.#delete(id, name())),
      ),
    );
    const openIt = el("button", { type: "button", class: "open", on: { click: () => this.#actions.open(id) } });
    const show = (given, current) => {
      title = given;
      openIt.textContent = openIt.title = name();
      openIt.ariaCurrent = current ? "page" : null;
      summary.ariaLabel = summary.title = S.more(name());
    };
    return { element: el("li", { data: { id } }, openIt, more), show };
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
    let said = null;
    try {
      said = S.imported(...(await this.#store.import(await file.text(), this.#actions.leave)));
    } catch (error) {
      said = error instanceof Unfit ? error.message : S.importFailed(error.message);
    }
    await this.#actions.imported();
    await this.refresh();
    // Not before it can be seen.
    this.#actions.warn(said);
  }
}
