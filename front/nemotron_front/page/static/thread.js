// The messages of the open conversation, and where the reader is in them.

import { ended } from "./answer.js";
import { announce, arrange, byId } from "./dom.js";
import { messageView } from "./message.js";
import { S } from "./strings.js";

// So near to the end, the reader is taken along with what grows there.
const NEAR_PX = 48;

export class Thread {
  #views = new Map();
  #conversation = null;
  #follow = true;
  #top = 0;
  #frame = null;
  #said = new Map();

  /**
   * `actions`: see message.js, `ask(text)` for an example of the welcome, and `takeFocus()` for when what had the
   * focus here is gone.
   */
  constructor(actions) {
    this.actions = actions;
    this.scroller = byId("thread");
    this.list = byId("messages");
    this.toEnd = byId("to-end");
    this.scroller.addEventListener("scroll", () => this.#moved());
    this.toEnd.addEventListener("click", () => this.end());
    // index.html has it, so that it is there before this.
    this.welcome = this.list.firstElementChild;
    for (const example of this.welcome.querySelectorAll(".example"))
      example.addEventListener("click", () => this.actions.ask(example.textContent));
    this.list.addEventListener("click", (event) => {
      // What is unfolded is there to be read, unless it grows.
      if (event.target.closest("summary") && !this.#conversation.answer) this.#follow = false;
    });
    // Blocks are rendered after their text came, pictures of all kinds later: whatever grows, a reader at the end stays there.
    new ResizeObserver(() => this.#keepEnd()).observe(this.list);
    new ResizeObserver(() => this.#keepEnd()).observe(this.scroller);
    setInterval(() => this.#tick(), 100);
  }

  /** Shows the path of a conversation; views of messages that stay are kept. */
  show(conversation) {
    if (conversation !== this.#conversation) {
      this.#views.clear();
      this.#follow = true;
      this.#said.clear();
    }
    this.#conversation = conversation;
    const views = new Map();
    const path = conversation.path;
    for (const message of path) {
      // Its versions, and whether its calls are open, depend on the others: only what runs keeps its view for sure.
      const versions = conversation.versionsOf(message).length;
      const last = message === path.at(-1);
      const known = this.#views.get(message.id);
      const stays = known && known.versions === versions && known.last === last;
      // An answer that goes on may be over before the next frame.
      if (stays && last) known.view.update?.();
      const view = stays ? known.view : messageView(conversation, message, this.actions);
      views.set(message.id, { view, versions, last });
    }
    this.#views = views;
    this.#keepFocus(() =>
      arrange(this.list, path.length ? [...views.values()].map(({ view }) => view.element) : [this.welcome]),
    );
    this.list.classList.toggle("empty", !path.length);
    this.#keepEnd();
  }

  /** Shows a change of a message, once a frame. */
  update(message) {
    this.#announce(message);
    if (ended(message)) return this.#draw();
    this.#frame ??= requestAnimationFrame(() => this.#draw());
  }

  /** Whether the user writes in the thread: a message that is edited, results of calls. */
  get writing() {
    return [...this.list.querySelectorAll("textarea")].some(({ value }) => value);
  }

  /** Goes to the end and stays there. */
  end() {
    this.#follow = true;
    this.#keepEnd();
  }

  #draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = null;
    this.#keepFocus(() => [...this.#views.values()].at(-1)?.view.update?.());
    this.#keepEnd();
  }

  /** Changes the list: what had the focus there keeps it, or hands it to its like in the message that took its place. */
  #keepFocus(change) {
    const focused = this.list.contains(document.activeElement) ? document.activeElement : null;
    const place = [...this.list.children].findIndex((element) => element.contains(focused));
    change();
    if (!focused) return;
    const shown = (button) => !button.disabled && button.checkVisibility();
    const buttons = [...(this.list.children[place]?.querySelectorAll("button") ?? [])].filter(shown);
    const like = buttons.find(({ ariaLabel }) => ariaLabel && ariaLabel === focused.ariaLabel);
    // At the first and the last version only the other arrow is left.
    const arrow = focused.closest(".versions") && buttons.find((button) => button.closest(".versions"));
    const next = focused.isConnected && focused.checkVisibility() ? focused : like || arrow;
    if (!next) this.actions.takeFocus();
    else if (next !== document.activeElement) next.focus({ preventScroll: true });
  }

  #tick() {
    const message = this.#conversation?.answer?.message;
    if (message) this.#views.get(message.id)?.view.tick();
  }

  /** Text that grew since the last scroll is no reason to stay behind: only a reader that goes up is. */
  #moved() {
    const { scrollTop } = this.scroller;
    if (this.#atEnd) this.#follow = true;
    else if (scrollTop < this.#top) this.#follow = false;
    this.#top = scrollTop;
    this.toEnd.hidden = this.#atEnd;
  }

  get #atEnd() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    return scrollHeight - scrollTop - clientHeight < NEAR_PX;
  }

  #keepEnd() {
    if (this.#follow) {
      this.scroller.scrollTop = this.scroller.scrollHeight;
      // Or a reader who goes up by less than what has grown since the last frame would not be heard.
      this.#top = this.scroller.scrollTop;
    }
    this.toEnd.hidden = this.#atEnd;
  }

  /** Tells screen readers of each phase and of each wait once, and of the answer when it is whole. */
  #announce(message) {
    // A countdown is one notice, and so is one that comes again after a try.
    const what = message.notice?.replace(/\d+/, "") ?? message.phase;
    if (what === "waiting" || this.#said.get(message.id) === what) return;
    this.#said.set(message.id, what);
    if (message.notice) announce(message.notice);
    else if (message.phase === "thinking") announce(S.sayThinking);
    else if (message.phase === "answering") announce(S.sayAnswering);
    else if (message.phase === "stopped") announce(S.sayStopped);
    else if (message.phase === "done") announce(message.calls.length ? S.sayCalls : S.sayDone(message.content));
  }
}
