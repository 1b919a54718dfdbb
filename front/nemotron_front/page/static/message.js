// One message as it is shown. A view is made once for a message and updated as the message grows.

import { ended } from "./answer.js";
import { button, copyButton, el, icon, plainText } from "./dom.js";
import { Markdown } from "./markdown.js";
import { S } from "./strings.js";
import { callView } from "./toolcalls.js";

/** The view of a message: {element, update()}. `actions`: answerAgain, goOn, edit, show, endThinking, giveResults. */
export function messageView(conversation, message, actions) {
  const view =
    message.role === "user"
      ? userView(conversation, message, actions)
      : message.role === "tool"
        ? toolView(message)
        : new AssistantView(conversation, message, actions);
  view.update?.();
  return view;
}

/** Buttons to the other versions of a message; null where there is one. */
function versionBar(conversation, message, actions) {
  const all = conversation.versionsOf(message);
  if (all.length < 2) return null;
  const at = all.indexOf(message);
  const go = (name, label, to) => button({ icon: name, label, disabled: !all[to], click: () => actions.show(all[to]) });
  return el(
    "span",
    { class: "versions", role: "group", "aria-label": S.versions },
    go("left", S.previousVersion, at - 1),
    el("span", { text: S.version(at + 1, all.length) }),
    go("right", S.nextVersion, at + 1),
  );
}

function userView(conversation, message, actions) {
  const files = (message.files ?? []).map((file) =>
    el(
      "details",
      { class: "file" },
      el("summary", {}, icon("file"), el("span", { text: file.name })),
      el("pre", { text: file.text, tabindex: 0 }),
    ),
  );
  const body = el(
    "div",
    { class: "bubble" },
    ...files,
    message.content ? plainText(message.content, "plain") : null,
  );
  const bar = el("div", { class: "actions" });
  const element = el("article", { class: "message user", "aria-label": S.you }, body, bar);

  const edit = () => {
    const area = el("textarea", {
      value: message.content,
      "aria-label": S.editLabel,
      rows: Math.min(12, message.content.split("\n").length + 1),
    });
    const close = () => {
      form.replaceWith(body);
      bar.hidden = false;
      editButton.focus();
    };
    const save = () => {
      if (area.value.trim() || message.files?.length) actions.edit(message, area.value);
    };
    const keys = (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        save();
      } else if (event.key === "Escape") {
        event.stopPropagation();
        close();
      }
    };
    const form = el(
      "form",
      { class: "bubble editing", on: { submit: (event) => (event.preventDefault(), save()), keydown: keys } },
      area,
      el(
        "div",
        { class: "bar" },
        button({ text: S.cancel, click: close }),
        el("button", { type: "submit", class: "primary", text: S.saveEdit }),
      ),
    );
    body.replaceWith(form);
    bar.hidden = true;
    area.focus();
  };
  const editButton = button({ icon: "edit", label: S.edit, click: edit });
  bar.append(
    ...[versionBar(conversation, message, actions), copyButton(() => message.content), editButton].filter(Boolean),
  );
  return { element };
}

function toolView(message) {
  const element = el(
    "article",
    { class: "message tool", "aria-label": S.toolResult(message.name) },
    el(
      "details",
      { class: "call" },
      el("summary", {}, icon("tool"), el("span", { text: S.toolResult(message.name) })),
      el("pre", { text: message.content, tabindex: 0 }),
    ),
  );
  return { element };
}

class AssistantView {
  #shownPhase = null;
  #calls = null;

  constructor(conversation, message, actions) {
    Object.assign(this, { conversation, message, actions });
    this.summary = el("span", { class: "thinking-text" });
    this.reasoning = el("div", { class: "reasoning" });
    this.thinkingText = new Markdown(this.reasoning);
    this.thinking = el(
      "details",
      { class: "thinking", hidden: true, on: { toggle: () => this.#showReasoning() } },
      el("summary", {}, icon("bulb"), this.summary),
      this.reasoning,
    );
    this.now = button({
      text: S.answerNow,
      label: S.answerNowHint,
      class: "small answer-now",
      hidden: true,
      click: () => actions.endThinking(),
    });
    this.content = el("div", { class: "content" });
    this.markdown = new Markdown(this.content);
    this.status = el("div", { class: "status", hidden: true });
    this.after = el("div", { class: "after" });
    this.calls = el("div", { class: "calls" });
    this.bar = el("div", { class: "actions", hidden: true });
    const top = el("div", { class: "thinking-row" }, this.thinking, this.now);
    this.element = el(
      "article",
      { class: "message assistant", "aria-label": S.assistant },
      top,
      this.content,
      this.status,
      this.calls,
      this.after,
      this.bar,
    );
  }

  update() {
    const { message } = this;
    const over = ended(message);
    this.element.setAttribute("aria-busy", String(!over));
    this.tick();
    this.thinking.hidden = !message.reasoning;
    this.now.hidden = message.phase !== "thinking";
    this.#showReasoning();
    if (message.content) this.markdown.update(message.content, over);
    const waiting = message.phase === "waiting";
    this.status.hidden = !(waiting || message.notice);
    this.status.textContent = message.notice ?? S.waiting;
    if (this.#shownPhase === message.phase && this.#calls === message.calls?.length) return;
    this.#shownPhase = message.phase;
    this.#calls = message.calls?.length;
    this.#showCalls(over);
    this.after.replaceChildren(...(over ? this.#notes() : []));
    this.bar.hidden = !over;
    if (over) this.#showBar();
  }

  /** What changes with the time alone. */
  tick() {
    const { message } = this;
    const running = message.phase === "thinking";
    const seconds = S.seconds(message.thinkingTime ?? this.conversation.answer?.thinkingSeconds ?? 0);
    const parts = [running ? S.thinkingNow(seconds) : S.thought(seconds)];
    if (message.usage?.reasoning) parts.push(S.tokens(message.usage.reasoning));
    if (message.budgetReached && !message.thinkingEnded) parts.push(S.budgetReached);
    this.summary.textContent = parts.join(" · ");
    this.thinking.classList.toggle("running", running);
  }

  #showReasoning() {
    if (this.thinking.open && this.message.reasoning)
      this.thinkingText.update(this.message.reasoning, this.message.phase !== "thinking");
  }

  #showCalls(over) {
    const { message, conversation, actions } = this;
    if (!message.calls?.length) return;
    const open = over && conversation.openCalls === message.calls;
    this.calls.replaceChildren(callView(message.calls, over, open ? actions.giveResults : null));
  }

  #notes() {
    const { message, conversation, actions } = this;
    const note = (text) => el("p", { class: "note", text });
    const goOn = conversation.canGoOn(message)
      ? button({ icon: "right", text: S.goOn, class: "go-on", click: () => actions.goOn(message) })
      : null;
    if (message.phase === "failed") return [this.#failure(goOn)];
    const notes = [];
    if (message.interrupted) notes.push(note(conversation.elsewhere ? S.elsewhere : S.interrupted));
    else if (message.phase === "stopped") notes.push(note(S.stopped));
    else if (message.finish === "length") notes.push(...this.#cutOff(note));
    else if (message.finish === "content_filter") notes.push(note(S.cutBy(message.finish)));
    else if (!message.content && !message.calls?.length) notes.push(note(S.empty));
    return goOn ? [...notes, goOn] : notes;
  }

  #failure(goOn) {
    const { message, actions } = this;
    const { error } = message;
    const codes = [error.code, error.param].filter(Boolean).join(" · ");
    const again = button({ icon: "again", text: S.retry, click: () => actions.answerAgain(message) });
    return el(
      "div",
      { class: "error", role: "alert" },
      el("p", { text: error.message }),
      codes ? el("p", { class: "quiet", text: codes }) : null,
      el("div", { class: "bar" }, again, goOn),
    );
  }

  /** Why an answer ended early; with nothing but thinking there is no text to go on from, only more tokens help. */
  #cutOff(note) {
    const { message, conversation, actions } = this;
    if (message.cut && message.cut !== "length") return [note(S.cutBy(message.cut))];
    const room = conversation.roomFor(message);
    if (room <= 0) return [note(S.contextFull)];
    if (message.content) return [note(S.cutByLength)];
    const { output = 0 } = message.usage ?? {};
    const tokens = output + Math.min(output, room);
    const again = () => actions.answerAgain(message, { max_tokens: tokens });
    return [
      note(S.cutInThinking),
      tokens ? button({ icon: "again", text: S.withMoreTokens(tokens), class: "go-on", click: again }) : null,
    ].filter(Boolean);
  }

  #showBar() {
    const { message, conversation, actions } = this;
    const figures = el("span", { class: "figures" });
    const figure = (text, title) => figures.append(el("span", { text, title }));
    if (message.rate) figure(S.tokensPerSecond(message.rate), S.rateHint);
    if (message.ttft !== undefined) figure(S.ttft(message.ttft), S.ttftHint);
    if (message.usage)
      figure(
        S.usage(message.usage.prompt, message.usage.output),
        S.usageHint(message.usage.prompt, message.usage.output, message.usage.cached),
      );
    const parts = [
      versionBar(conversation, message, actions),
      message.content ? copyButton(() => message.content) : null,
      button({
        icon: "again",
        label: S.regenerate,
        class: "icon regenerate",
        click: () => actions.answerAgain(message),
      }),
      figures,
    ];
    this.bar.replaceChildren(...parts.filter(Boolean));
  }
}
