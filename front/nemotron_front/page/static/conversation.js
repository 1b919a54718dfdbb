// An open conversation: its record, its messages, its running answer, and what can be done with it.

import { Answer, ended } from "./answer.js";
import { pause } from "./api.js";
import { bodyFor } from "./request.js";
import { newId } from "./store.js";
import { latestLeaf, openCalls, pathTo, titleOf, versions } from "./tree.js";

// While an answer runs, what there is of it is kept this often, for a page that is closed.
const KEEP_EVERY_MS = 500;
// What an answer that is over waits for the browser to keep it: a disk that hangs is no reason to show it as running.
const KEEPING_MS = 10_000;

export class Conversation {
  #store;
  #model;
  #notify;
  #kept = 0;
  /** The running Answer, or null. */
  answer = null;
  /** Whether what was not whole when it was read is being written in another tab. */
  elsewhere = false;

  /**
   * `model` is what is asked: {id, context}, null where that is not known (yet).
   * `notify(what, conversation, message)`: what is "path" (other messages are shown), "message" (one has changed),
   * "record" (title, time) or "unkept" (with the error in place of the message).
   */
  constructor(store, model, notify, record, messages = []) {
    this.#store = store;
    this.#model = model;
    this.#notify = notify;
    this.record = record;
    this.messages = new Map(messages.map((message) => [message.id, message]));
    for (const message of messages)
      if (message.role === "assistant" && !ended(message))
        Object.assign(message, { phase: "stopped", interrupted: true, notice: null });
  }

  static create(store, model, notify, settings) {
    const now = Date.now();
    return new Conversation(store, model, notify, {
      id: newId(),
      title: "",
      created: now,
      updated: now,
      leaf: null,
      settings: structuredClone(settings),
    });
  }

  get path() {
    return pathTo(this.messages, this.record.leaf);
  }

  get openCalls() {
    return openCalls(this.path);
  }

  /** Whether an answer was not whole when it was read. */
  get interrupted() {
    return [...this.messages.values()].some((message) => message.interrupted);
  }

  versionsOf(message) {
    return versions(this.messages, message);
  }

  /** Shows another version of a message, with the latest of what follows it. */
  show(message) {
    this.record.leaf = latestLeaf(this.messages, message);
    this.#keep();
    this.#notify("path", this);
  }

  /** Adds what the user wrote under the leaf, or as another version beside `instead`, and has it answered. */
  send(content, files, instead = null) {
    this.stop();
    const message = this.#add({ role: "user", content, files }, instead ? instead.parent : this.record.leaf);
    if (!this.record.title) this.record.title = titleOf(content || files[0]?.name || "");
    return this.#answer(message);
  }

  /** Has the question before an answer answered again, beside the old one; `change` are settings for this once. */
  answerAgain(message, change = {}) {
    this.stop();
    return this.#answer(this.messages.get(message.parent), change);
  }

  /** Lets the last answer go on from where it ends. */
  goOn(message) {
    this.stop();
    return this.#run(message, this.path);
  }

  /** Whether it can: it was cut off or left, and there is text to go on from. A form is not kept over the seam. */
  canGoOn(message) {
    const { phase, finish, cut, content, calls } = message;
    const cutOff = phase === "done" && finish === "length" && cut !== "repetition";
    const left = phase === "stopped" || phase === "failed";
    if (message.interrupted && this.elsewhere) return false;
    const free = this.record.settings.format === "text" && message.id === this.record.leaf;
    return (cutOff || left) && free && Boolean(content) && !calls?.length && this.roomFor(message) > 0;
  }

  /** Tokens that an answer may have more, as far as the context goes. */
  roomFor({ usage }) {
    return this.#model.context && usage ? this.#model.context - usage.prompt - usage.output : Infinity;
  }

  /** Adds the results of the open calls, in their order, and lets the model go on. */
  giveResults(results) {
    let last = this.path.at(-1);
    this.openCalls.forEach(({ id, name }, i) => {
      last = this.#add({ role: "tool", call: id, name, content: results[i] }, last.id);
    });
    return this.#answer(last);
  }

  stop() {
    this.answer?.stop();
  }

  rename(title) {
    this.record.title = title;
    this.#keep();
    this.#notify("record", this);
  }

  /** Resolves once they are kept; those of a conversation without messages are with its first one. */
  async set(settings) {
    this.record.settings = settings;
    const kept = this.messages.size ? this.#keep() : null;
    this.#notify("record", this);
    await kept;
  }

  /** Writes what a running answer has so far. */
  keepNow() {
    if (this.answer && !this.answer.over) this.#keep([this.answer.message]);
  }

  #add(fields, parent) {
    const siblings = versions(this.messages, { parent });
    // Later than every other version, whatever the clock says.
    const created = Math.max(Date.now(), ...siblings.map((other) => other.created + 1));
    const message = { id: newId(), conversation: this.record.id, parent, created, ...fields };
    this.messages.set(message.id, message);
    this.record.leaf = message.id;
    this.record.updated = Date.now();
    this.#keep([message]);
    return message;
  }

  #answer(question, change = {}) {
    const path = pathTo(this.messages, question.id);
    return this.#run(this.#add({ role: "assistant", content: "", phase: "waiting" }, question.id), path, change);
  }

  /** Has a message written: as the answer to a path, or, where it ends the path, from there on. */
  async #run(message, path, change = {}) {
    const body = bodyFor(path, { ...this.record.settings, ...change }, this.#model);
    const changed = () => {
      if (performance.now() - this.#kept > KEEP_EVERY_MS) this.#keep([message]);
      this.#notify("message", this, message);
    };
    const answer = new Answer(message, body, changed, (whole) => {
      this.record.updated = Date.now();
      return Promise.race([this.#keep([whole]), pause(KEEPING_MS)]);
    });
    this.answer = answer;
    // Other tabs are to know that it runs, also where it goes on.
    this.#keep([message]);
    this.#notify("path", this);
    await answer.run();
    if (this.answer === answer) this.answer = null;
    if (this.deleted) return;
    this.#notify("message", this, message);
    this.#notify("record", this);
  }

  /** Writes the record and some messages; never raises. */
  async #keep(messages = []) {
    if (this.deleted) return;
    this.#kept = performance.now();
    try {
      await this.#store.put(this.record, messages);
    } catch (error) {
      this.#notify("unkept", this, error);
    }
  }
}
