// Conversations in this browser: IndexedDB, or memory alone where the browser keeps nothing.
//
// A conversation is {id, title, created, updated, leaf, settings}; its messages are a tree of {id, conversation,
// parent, role, ...}, see tree.js. Times are milliseconds since 1970.

import { ended } from "./answer.js";
import { settingsFit } from "./request.js";
import { S } from "./strings.js";

const NAME = "nemotron-chat";
const FORMAT = "nemotron-chat-export";
const VERSION = 1;
// What another tab has to say that an answer runs there.
const REPLY_MS = 300;

const wait = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

const complete = (transaction) =>
  new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
  });

/** A new identifier. crypto.randomUUID is missing on plain HTTP from another machine. */
export function newId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Opens the store. */
export async function openStore() {
  try {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("conversations", { keyPath: "id" });
      request.result.createObjectStore("messages", { keyPath: "id" }).createIndex("conversation", "conversation");
    };
    return new Store(await wait(request));
  } catch {
    return new MemoryStore();
  }
}

/** What both stores share: search, export and import. */
class BaseStore {
  /**
   * Has `tell({id, gone, running})` called when another tab has changed a conversation: deleted it, or written what is
   * so far of an answer that runs there.
   */
  onChange() {}

  /** Has `runs(id)` say to other tabs whether an answer of a conversation runs in this one. */
  onAsked() {}

  /** Whether an answer of a conversation runs in another tab, which says so at once. */
  async runsElsewhere() {
    return false;
  }

  /** Ids of the conversations in whose title or messages all words of a text occur, in any case. */
  async search(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const texts = new Map((await this.list()).map(({ id, title }) => [id, title]));
    for (const { conversation, content } of await this.allMessages())
      if (texts.has(conversation)) texts.set(conversation, `${texts.get(conversation)}\n${content ?? ""}`);
    const fits = (body) => words.every((word) => body.toLowerCase().includes(word));
    return new Set([...texts].filter(([, body]) => fits(body)).map(([id]) => id));
  }

  /** The JSON text of some conversations, or of all. */
  async export(ids = null) {
    const chosen = (await this.list()).filter(({ id }) => ids === null || ids.includes(id));
    const conversations = await Promise.all(
      chosen.map(async (conversation) => ({ ...conversation, messages: await this.messages(conversation.id) })),
    );
    return JSON.stringify({ format: FORMAT, version: VERSION, conversations }, null, 1);
  }

  /**
   * Adds the conversations of an export, all or none; one that is here and not older stays. `leave(id)` is called
   * before one is replaced. Gives [added, known]; raises Unfit, and what the browser raises when it cannot keep them.
   */
  async import(text, leave) {
    const conversations = readExport(text);
    const owners = new Map((await this.allMessages()).map(({ id, conversation }) => [id, conversation]));
    const foreign = ({ id, conversation }) => owners.has(id) && owners.get(id) !== conversation;
    // It would take the place of another conversation's message.
    const taking = conversations.find(({ messages }) => messages.some(foreign));
    if (taking) throw new Unfit(S.damaged(taking.title, S.faults.foreign));
    const here = new Map((await this.list()).map((conversation) => [conversation.id, conversation]));
    const wanted = conversations.filter(({ id, updated }) => !here.has(id) || here.get(id).updated < updated);
    wanted.forEach(({ id }) => leave(id));
    await this.replace(wanted);
    return [wanted.length, conversations.length - wanted.length];
  }
}

const isText = (value) => typeof value === "string";
const isList = (value, fits) => Array.isArray(value) && value.every(fits);
const missingOr = (value, fits) => value === undefined || value === null || fits(value);

/** A file that cannot be imported; the message is for the user. */
export class Unfit extends Error {}

/** Whether a message of an export can be shown; see tree.js and answer.js. */
function messageFits(message, conversation) {
  if (![message?.id, message?.content].every(isText) || message.conversation !== conversation) return false;
  if (!Number.isFinite(message.created)) return false;
  if (message.role === "user")
    return missingOr(message.files, (files) => isList(files, (file) => isText(file?.name) && isText(file.text)));
  if (message.role === "tool") return isText(message.call) && isText(message.name);
  const callFits = (call) => [call?.id, call?.name, call?.arguments].every(isText);
  const usageFits = ({ prompt, output }) => [prompt, output].every(Number.isFinite);
  return (
    message.role === "assistant" &&
    missingOr(message.reasoning, isText) &&
    missingOr(message.calls, (calls) => isList(calls, callFits)) &&
    missingOr(message.usage, usageFits) &&
    [message.rate, message.ttft, message.thinkingTime].every((figure) => missingOr(figure, Number.isFinite)) &&
    (message.phase !== "failed" || isText(message.error?.message))
  );
}

/** Whether each message follows one that is there, and all begin with a user's: a tree without rings. */
function isTree(messages) {
  const children = Map.groupBy(messages, ({ parent }) => parent);
  const reached = (children.get(null) ?? []).filter(({ role }) => role === "user");
  // It grows while it is read.
  for (const { id } of reached) for (const child of children.get(id) ?? []) reached.push(child);
  return reached.length === messages.length;
}

/** What is wrong with a conversation of an export; null for nothing. */
function faultOf(conversation) {
  if (![conversation?.id, conversation?.title].every(isText)) return S.faults.fields;
  // It becomes a part of the address.
  if (!/^[\w-]{1,64}$/.test(conversation.id)) return S.faults.fields;
  const { id, created, updated, leaf, settings, messages } = conversation;
  if (![created, updated].every(Number.isFinite) || !missingOr(leaf, isText)) return S.faults.fields;
  if (!missingOr(settings, settingsFit)) return S.faults.settings;
  if (!isList(messages, (message) => messageFits(message, id))) return S.faults.messages;
  if (twice(messages)) return S.faults.twice;
  const known = missingOr(leaf, (one) => messages.some((message) => message.id === one));
  return known && isTree(messages) ? null : S.faults.tree;
}

const twice = (all) => new Set(all.map(({ id }) => id)).size < all.length;

/** The conversations of an export. Raises Unfit. */
function readExport(text) {
  let value = null;
  try {
    value = JSON.parse(text);
  } catch {
    // Said below, as for any other file.
  }
  if (value?.format !== FORMAT) throw new Unfit(S.notAnExport);
  if (value.version !== VERSION) throw new Unfit(S.otherVersion(value.version, VERSION));
  const { conversations } = value;
  if (!Array.isArray(conversations)) throw new Unfit(S.notAnExport);
  for (const conversation of conversations) {
    const fault = faultOf(conversation);
    if (fault) throw new Unfit(S.damaged(isText(conversation?.title) ? conversation.title : "?", fault));
  }
  if ([conversations, conversations.flatMap(({ messages }) => messages)].some(twice)) throw new Unfit(S.twice);
  return conversations;
}

class Store extends BaseStore {
  #database;
  #tabs = new BroadcastChannel(NAME);
  // Ids of conversations that have been in the store.
  #known = new Set();
  keeps = true;

  constructor(database) {
    super();
    this.#database = database;
  }

  onChange(tell) {
    this.#tabs.addEventListener("message", ({ data }) => data.id && tell(data));
  }

  onAsked(runs) {
    this.#tabs.addEventListener("message", ({ data }) => {
      if (data.asked && runs(data.asked)) this.#tabs.postMessage({ runs: data.asked });
    });
  }

  runsElsewhere(id) {
    return new Promise((resolve) => {
      const end = (runs) => {
        resolve(runs);
        this.#tabs.removeEventListener("message", hear);
      };
      const hear = ({ data }) => data.runs === id && end(true);
      this.#tabs.addEventListener("message", hear);
      this.#tabs.postMessage({ asked: id });
      setTimeout(() => end(false), REPLY_MS);
    });
  }

  #read(name) {
    return this.#database.transaction(name).objectStore(name);
  }

  /** All conversations, the latest first, without their messages. */
  async list() {
    const all = await wait(this.#read("conversations").getAll());
    all.forEach(({ id }) => this.#known.add(id));
    return all.sort((a, b) => b.updated - a.updated);
  }

  async messages(id) {
    return wait(this.#read("messages").index("conversation").getAll(id));
  }

  async allMessages() {
    return wait(this.#read("messages").getAll());
  }

  /** Writes a conversation and some of its messages; not one that another tab has deleted. */
  async put(conversation, messages = []) {
    const known = this.#known.has(conversation.id);
    await this.#write(async (conversationStore, messageStore) => {
      // This tab may not have been told of it yet.
      if (known && (await wait(conversationStore.getKey(conversation.id))) === undefined) return;
      conversationStore.put(conversation);
      for (const message of messages) messageStore.put(message);
    });
    this.#known.add(conversation.id);
    const running = messages.some((message) => message.role === "assistant" && !ended(message));
    this.#tabs.postMessage({ id: conversation.id, gone: false, running });
  }

  async delete(id) {
    await this.#change([id], []);
  }

  /** Writes whole conversations, each with its messages, in place of what is here of them: all or none. */
  async replace(conversations) {
    await this.#change(
      conversations.map(({ id }) => id),
      conversations,
    );
  }

  /** All that `change` does to both object stores, or nothing of it. */
  async #write(change) {
    const names = ["conversations", "messages"];
    const transaction = this.#database.transaction(names, "readwrite");
    try {
      await change(...names.map((name) => transaction.objectStore(name)));
    } catch (error) {
      if (!transaction.error) transaction.abort();
      throw error;
    }
    // Nothing more follows: it is written even where the page is closed before the answers to these are here.
    if (!transaction.error) transaction.commit();
    await complete(transaction);
  }

  /** Deletes conversations and writes others. */
  async #change(gone, conversations) {
    await this.#write(async (conversationStore, messageStore) => {
      for (const id of gone) {
        conversationStore.delete(id);
        for (const key of await wait(messageStore.index("conversation").getAllKeys(id))) messageStore.delete(key);
      }
      for (const { messages, ...conversation } of conversations) {
        conversationStore.put(conversation);
        for (const message of messages) messageStore.put(message);
      }
    });
    const written = conversations.map(({ id }) => id);
    for (const id of [...written, ...gone.filter((one) => !written.includes(one))])
      this.#tabs.postMessage({ id, gone: !written.includes(id), running: false });
  }
}

class MemoryStore extends BaseStore {
  #conversations = new Map();
  #messages = new Map();
  keeps = false;

  async list() {
    return [...this.#conversations.values()].sort((a, b) => b.updated - a.updated);
  }

  async messages(id) {
    return (await this.allMessages()).filter(({ conversation }) => conversation === id);
  }

  async allMessages() {
    return [...this.#messages.values()];
  }

  async put(conversation, messages = []) {
    this.#conversations.set(conversation.id, structuredClone(conversation));
    for (const message of messages) this.#messages.set(message.id, structuredClone(message));
  }

  async delete(id) {
    this.#conversations.delete(id);
    for (const message of await this.messages(id)) this.#messages.delete(message.id);
  }

  async replace(conversations) {
    for (const { messages, ...record } of conversations) {
      await this.delete(record.id);
      await this.put(record, messages);
    }
  }
}
