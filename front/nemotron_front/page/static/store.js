// Conversations in this browser: IndexedDB, or memory alone where the browser keeps nothing.
//
// A conversation is {id, title, created, updated, leaf, settings}; its messages are a tree of {id, conversation,
// parent, role, ...}, see tree.js. Times are milliseconds since 1970.

import { settingsFit } from "./request.js";

const NAME = "nemotron-chat";
const FORMAT = "nemotron-chat-export";

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
    return JSON.stringify({ format: FORMAT, version: 1, conversations }, null, 1);
  }

  /**
   * Adds the conversations of an export; one that is here and not older stays. `leave(id)` is called before one is
   * replaced. Gives [added, known]; raises TypeError.
   */
  async import(text, leave) {
    const conversations = readExport(text);
    const owners = new Map((await this.allMessages()).map(({ id, conversation }) => [id, conversation]));
    const foreign = ({ id, conversation }) => owners.has(id) && owners.get(id) !== conversation;
    // It would take the place of another conversation's message.
    if (conversations.some(({ messages }) => messages.some(foreign))) throw new TypeError("a message of another one");
    const here = new Map((await this.list()).map((conversation) => [conversation.id, conversation]));
    const wanted = conversations.filter(({ id, updated }) => !here.has(id) || here.get(id).updated < updated);
    for (const { messages, ...conversation } of wanted) {
      leave(conversation.id);
      await this.delete(conversation.id);
      await this.put(conversation, messages);
    }
    return [wanted.length, conversations.length - wanted.length];
  }
}

const isText = (value) => typeof value === "string";
const isList = (value, fits) => Array.isArray(value) && value.every(fits);
const missingOr = (value, fits) => value === undefined || value === null || fits(value);

/** Whether a message of an export can be shown; see tree.js and answer.js. */
function messageFits(message, conversation) {
  if (![message?.id, message?.content].every(isText) || message.conversation !== conversation) return false;
  if (!(message.parent === null || isText(message.parent)) || !Number.isFinite(message.created)) return false;
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

function conversationFits(conversation) {
  if (![conversation?.id, conversation?.title].every(isText)) return false;
  const { id, created, updated, leaf, settings, messages } = conversation;
  return (
    [created, updated].every(Number.isFinite) &&
    missingOr(leaf, isText) &&
    missingOr(settings, settingsFit) &&
    isList(messages, (message) => messageFits(message, id))
  );
}

/** The conversations of an export. Raises TypeError. */
function readExport(text) {
  let value = null;
  try {
    value = JSON.parse(text);
  } catch {
    // Said below, as for any other file.
  }
  if (value?.format !== FORMAT || !isList(value.conversations, conversationFits)) throw new TypeError("no export");
  for (const all of [value.conversations, value.conversations.flatMap(({ messages }) => messages)])
    if (new Set(all.map(({ id }) => id)).size < all.length) throw new TypeError("an identifier is there twice");
  return value.conversations;
}

class Store extends BaseStore {
  #database;
  keeps = true;

  constructor(database) {
    super();
    this.#database = database;
  }

  #read(name) {
    return this.#database.transaction(name).objectStore(name);
  }

  /** All conversations, the latest first, without their messages. */
  async list() {
    return (await wait(this.#read("conversations").getAll())).sort((a, b) => b.updated - a.updated);
  }

  async messages(id) {
    return wait(this.#read("messages").index("conversation").getAll(id));
  }

  async allMessages() {
    return wait(this.#read("messages").getAll());
  }

  /** Writes a conversation and some of its messages. */
  async put(conversation, messages = []) {
    const transaction = this.#database.transaction(["conversations", "messages"], "readwrite");
    transaction.objectStore("conversations").put(conversation);
    for (const message of messages) transaction.objectStore("messages").put(message);
    await complete(transaction);
  }

  async delete(id) {
    const transaction = this.#database.transaction(["conversations", "messages"], "readwrite");
    transaction.objectStore("conversations").delete(id);
    const messages = transaction.objectStore("messages");
    for (const key of await wait(messages.index("conversation").getAllKeys(id))) messages.delete(key);
    await complete(transaction);
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
}
