// Where the user writes: the text, attached files, the thinking switch and its limit, send and stop.

import { announce, button, byId, el, icon } from "./dom.js";
import { toolsOf } from "./request.js";
import { S } from "./strings.js";

const FILE_LIMIT = 512 * 1024;
// Characters that become a file when they are pasted: a browser takes seconds, or minutes, for as many in a text box.
const LONG_PASTE = 100_000;
// Characters that are higher than the text box may be, whatever they are.
const HIGH = 10_000;
// Tokens; -1 is no limit.
const BUDGETS = [256, 1024, 4096, 16384, -1];

export class Composer {
  #files = [];
  #conversation = null;

  /** `actions`: send(text, files), stop(), set(settings), warn(text). */
  constructor(actions) {
    this.actions = actions;
    this.input = byId("input");
    this.budget = byId("budget");
    this.thinking = byId("thinking");
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    });
    this.input.addEventListener("input", () => this.#fit());
    this.input.addEventListener("paste", (event) => {
      const text = event.clipboardData.getData("text/plain");
      if (event.clipboardData.files.length) this.add(event.clipboardData.files);
      else if (text.length > LONG_PASTE) {
        event.preventDefault();
        this.add([new File([text], S.pastedFile)]);
      }
    });
    byId("stop").addEventListener("click", () => {
      actions.stop();
      this.focus();
    });
    this.thinking.addEventListener("click", () => this.toggleThinking());
    this.budget.addEventListener("change", () =>
      this.#set({ budget: this.budget.value ? Number(this.budget.value) : null }),
    );
    const picker = byId("attach-file");
    byId("attach").addEventListener("click", () => picker.click());
    picker.addEventListener("change", () => {
      this.add(picker.files);
      picker.value = "";
    });
    this.#takeDrops();
  }

  /** Shows the state of a conversation: its settings, and whether it can be stopped. */
  show(conversation) {
    this.#conversation = conversation;
    const { settings } = conversation.record;
    this.thinking.setAttribute("aria-pressed", String(settings.thinking));
    this.budget.disabled = !settings.thinking;
    const budgets = [...new Set([...BUDGETS, ...(settings.budget === null ? [] : [settings.budget])])].sort(
      (a, b) => (a < 0) - (b < 0) || a - b,
    );
    this.budget.replaceChildren(
      el("option", { value: "", text: S.usualBudget }),
      ...budgets.map((n) => el("option", { value: n, text: n < 0 ? S.noBudget : S.budgetOf(n) })),
    );
    this.budget.value = settings.budget ?? "";
    const tools = settings.toolChoice === "none" ? [] : toolsOf(settings);
    byId("extras").replaceChildren(
      ...(tools.length
        ? [el("span", { class: "chip" }, icon("tool"), el("span", { text: S.toolsOn(tools.length) }))]
        : []),
      ...(settings.format !== "text"
        ? [el("span", { class: "chip" }, icon("braces"), el("span", { text: S.formatOn[settings.format] }))]
        : []),
    );
    this.showRunning();
  }

  /** Shows send or stop. */
  showRunning() {
    const running = this.#conversation.answer !== null;
    const stop = byId("stop");
    const focused = document.activeElement === byId("send") || document.activeElement === stop;
    byId("send").hidden = running;
    stop.hidden = !running;
    if (focused) (running ? stop : this.input).focus();
  }

  get text() {
    return this.input.value.trim();
  }

  set text(text) {
    this.input.value = text;
    this.#fit();
  }

  focus() {
    this.input.focus();
  }

  /** Where the focus goes from what is gone. */
  takeFocus() {
    const stop = byId("stop");
    (stop.hidden ? this.input : stop).focus();
  }

  toggleThinking() {
    this.#set({ thinking: !this.#conversation.record.settings.thinking });
  }

  /** Attaches text files. */
  async add(files) {
    // A picker's list empties itself meanwhile.
    for (const file of [...files]) {
      if (file.size > FILE_LIMIT) {
        this.actions.warn(S.fileTooLarge(file.name, S.size(file.size), S.size(FILE_LIMIT)));
        continue;
      }
      try {
        const text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
        if (text.includes("\0")) throw new TypeError("binary");
        this.#files.push({ name: file.name, text, size: file.size });
      } catch {
        this.actions.warn(S.notText(file.name));
      }
    }
    this.#showFiles();
    this.focus();
  }

  #set(change) {
    this.actions.set({ ...this.#conversation.record.settings, ...change });
  }

  #send() {
    if (this.#conversation.answer || (!this.text && !this.#files.length)) return;
    const open = document.querySelector(".results textarea");
    if (open) {
      announce(S.sayCalls);
      open.focus();
      return;
    }
    const files = this.#files.map(({ name, text }) => ({ name, text }));
    const { text } = this;
    this.#files = [];
    this.#showFiles();
    this.text = "";
    this.actions.send(text, files);
  }

  /** As high as the text, up to what the style allows. */
  #fit() {
    const high = this.input.value.length > HIGH;
    this.input.style.height = high ? "100dvh" : "auto";
    if (!high) this.input.style.height = `${this.input.scrollHeight}px`;
  }

  #showFiles() {
    const list = byId("files");
    list.hidden = !this.#files.length;
    list.replaceChildren(
      ...this.#files.map((file, i) => {
        const remove = () => {
          this.#files.splice(i, 1);
          this.#showFiles();
          this.focus();
        };
        return el(
          "li",
          { class: "chip" },
          icon("file"),
          el("span", { text: file.name }),
          el("span", { class: "quiet", text: S.size(file.size) }),
          button({ icon: "close", label: S.removeFile(file.name), click: remove }),
        );
      }),
    );
  }

  #takeDrops() {
    const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
    const target = document.documentElement;
    let depth = 0;
    const mark = (by) => {
      depth = by === 0 ? 0 : depth + by;
      if (depth > 0) target.dataset.dropping = S.dropHere;
      else delete target.dataset.dropping;
    };
    addEventListener("dragenter", (event) => holdsFiles(event) && mark(1));
    addEventListener("dragleave", (event) => holdsFiles(event) && mark(-1));
    addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
    addEventListener("drop", (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      mark(0);
      this.add(event.dataTransfer.files);
    });
  }
}
