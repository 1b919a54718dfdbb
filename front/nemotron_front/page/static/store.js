// Conversations in this browser: IndexedDB, or memory alone where the browser keeps nothing.
//
// A conversation is {id, title, created, updated, leaf, settings}; its messages are a tree of {id, conversation,
// parent, role, ...}, see tree.js. Times are milliseconds since 1970.

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

  /** Adds the conversations of an export; one that is here and not older stays. Gives [added, known]; raises TypeError. */
  async import(text) {
    const conversations = readExport(text);
    const here = new Map((await this.list()).map((conversation) => [conversation.id, conversation]));
    const wanted = conversations.filter(({ id, updated }) => !here.has(id) || here.get(id).updated < updated);
    for (const { messages, ...conversation } of wanted) {
      await this.delete(conversation.id);
      await this.put(conversation, messages);
    }
    return [wanted.length, conversations.length - wanted.length];
  }
}

function readExport(text) {
  const isText = (value) => typeof value === "string";
  let value = null;
  try {
    value = JSON.parse(text);
  } catch {
    // Said below, as for any other file.
  }
  if (value?.format !== FORMAT || !Array.isArray(value.conversations)) throw new TypeError("no export");
  for (const { id, title, created, updated, messages } of value.conversations) {
    const messageFits = (message) =>
      isText(message?.id) &&
      message.conversation === id &&
      ["user", "assistant", "tool"].includes(message.role) &&
      isText(message.content) &&
      (message.parent === null || isText(message.parent));
    if (![id, title].every(isText) || ![created, updated].every(Number.isFinite)) throw new TypeError("no export");
    if (!Array.isArray(messages) || !messages.every(messageFits)) throw new TypeError("no export");
  }
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
