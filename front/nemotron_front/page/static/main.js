// Puts the page together: opens the store, shows a conversation, and hands what the user does to its parts.

import { ended } from "./answer.js";
import * as api from "./api.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { askKey, showCode, showShortcuts } from "./dialogs.js";
import { announce, byId, copyText, el } from "./dom.js";
import { bodyToShow, DEFAULTS, settingsFit } from "./request.js";
import { askSettings } from "./settings.js";
import { Sidebar } from "./sidebar.js";
import { openStore } from "./store.js";
import { S } from "./strings.js";
import { Thread } from "./thread.js";

api.onKeyNeeded(askKey);

const store = await openStore();
// Conversations with a running answer stay here while another is shown.
const opened = new Map();
const model = { id: null, context: null };
let current = null;
let learning = false;
// How often a tab is asked whether it still writes an answer.
const WATCH_MS = 3000;
// How often the user has chosen something: reading a large conversation takes longer than choosing another one.
let turn = 0;

function savedDefaults() {
  try {
    const saved = JSON.parse(localStorage.getItem("defaults") ?? "{}");
    if (settingsFit(saved)) return { ...DEFAULTS, ...saved };
  } catch {
    // What is there is not this page's.
  }
  return { ...DEFAULTS };
}

function remember(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch (error) {
    warn(S.notKept(error.message));
  }
}

function warn(text) {
  const banner = byId("banner");
  // A running answer that cannot be kept says so again and again.
  if (banner.hidden || banner.textContent !== text) announce(text);
  banner.textContent = text;
  banner.hidden = false;
  clearTimeout(warn.timer);
  warn.timer = setTimeout(() => (banner.hidden = true), 8000);
}

// What the open conversation shows

function show(conversation) {
  current = conversation;
  setAddress("pushState");
  composer.show(conversation);
  thread.show(conversation);
  showHeader();
  sidebar.refresh(conversation.record.id);
  sidebar.chosen();
}

/** The address names the conversation, so that it is there after a reload, and the browser's arrows find it. */
function setAddress(how) {
  const address = current.messages.size ? `#${current.record.id}` : "";
  if (address !== location.hash) history[how](null, "", address || location.pathname);
}

function showHeader() {
  const title = current.record.title || S.untitled;
  byId("title").textContent = title;
  document.title = current.record.title ? `${title} – ${S.appName}` : S.appName;
  byId("model").textContent = model.id ?? "";
  const { usage } = current.path.findLast((message) => message.usage) ?? {};
  const context = byId("context");
  context.title = usage ? S.contextLabel : "";
  const parts = usage ? [el("span", { text: S.contextUsed(usage.prompt + usage.output) })] : [];
  if (usage && model.context) parts.push(el("span", { class: "of", text: S.contextOf(model.context) }));
  context.replaceChildren(...parts);
}

function changed(what, conversation, detail) {
  if (what === "unkept") return warn(S.storageFailed(detail.message));
  if (what === "record") sidebar.refresh();
  // It was not there when the page was opened, or wanted a key.
  if (what === "message" && model.id === null && ended(detail) && detail.model) learnModel();
  if (conversation !== current) return;
  // First: the thread may hand the focus to the stop button.
  composer.showRunning();
  if (what === "path") {
    thread.show(conversation);
    sidebar.refresh();
  } else if (what === "message") thread.update(detail);
  showHeader();
}

function startNew() {
  turn++;
  const conversation = Conversation.create(store, model, changed, savedDefaults());
  show(conversation);
  // On a phone the focus brings the keyboard up, over half of the page.
  if (matchMedia("(hover: hover)").matches) composer.focus();
}

/** A conversation as the store has it, or null. */
async function read(id) {
  const record = (await store.list()).find((one) => one.id === id);
  if (!record) return null;
  const make = async () => {
    const settings = { ...DEFAULTS, ...record.settings };
    return new Conversation(store, model, changed, { ...record, settings }, await store.messages(id));
  };
  const conversation = await make();
  if (!conversation.interrupted) return conversation;
  const elsewhere = await store.runsElsewhere(id);
  // It may have become whole meanwhile.
  const later = await make();
  later.elsewhere = elsewhere && later.interrupted;
  return later;
}

function take(conversation) {
  opened.set(conversation.record.id, conversation);
  if (conversation.elsewhere) watch(conversation);
}

async function conversationOf(id) {
  if (opened.get(id)?.answer || opened.get(id) === current) return opened.get(id);
  const conversation = await read(id);
  if (conversation) take(conversation);
  return conversation;
}

/** Waits for the end of an answer in another tab that is gone without a word. */
async function watch(conversation) {
  const { id } = conversation.record;
  do await api.pause(WATCH_MS);
  while (opened.get(id) === conversation && (await store.runsElsewhere(id)));
  if (opened.get(id) === conversation) await readAgain(id);
}

/** Shows what another tab has written, unless something runs or is written here. */
async function readAgain(id) {
  const free = () => current.record.id === id && !current.answer && !thread.writing;
  if (!free()) return;
  const conversation = await read(id);
  // Or what has begun here meanwhile would be taken for something that runs nowhere.
  if (!conversation || !free()) return;
  take(conversation);
  show(conversation);
}

async function openOne(id) {
  const mine = ++turn;
  if (current.record.id === id) return sidebar.chosen();
  const conversation = await conversationOf(id);
  if (conversation && mine === turn) show(conversation);
}

async function openAddressed() {
  const mine = ++turn;
  const id = location.hash.slice(1);
  if (id && id === current?.record.id) return;
  const conversation = id ? await conversationOf(id) : null;
  if (mine !== turn) return;
  if (conversation) return show(conversation);
  // There is none of that name: going back would lead here again.
  history.replaceState(null, "", location.pathname);
  startNew();
}

/** Lets go of a conversation that is deleted or replaced in the store: nothing of it is written any more. */
function leave(id) {
  const conversation = opened.get(id);
  if (!conversation) return;
  conversation.deleted = true;
  conversation.stop();
  opened.delete(id);
}

// What the user does

function send(text, files, instead = null) {
  opened.set(current.record.id, current);
  thread.end();
  current.send(text, files, instead);
  setAddress("replaceState");
}

const actions = {
  ask: (text) => send(text, []),
  edit: (message, text) => send(text, message.files ?? [], message),
  answerAgain: (message, change) => current.answerAgain(message, change),
  goOn: (message) => current.goOn(message),
  show: (message) => current.show(message),
  giveResults: (results) => {
    thread.end();
    current.giveResults(results);
  },
  takeFocus: () => composer.takeFocus(),
  endThinking: () => current.answer?.endThinking().catch((error) => warn(S.answerNowFailed(error.message))),
};

const thread = new Thread(actions);
const composer = new Composer({ send, stop: () => current.stop(), set: setSettings, warn });
const sidebar = new Sidebar(store, {
  open: openOne,
  warn,
  leave: (id) => {
    // In case that nothing is imported after all.
    opened.get(id)?.keepNow();
    leave(id);
  },
  imported: async () => {
    if (!current.deleted) return;
    const conversation = await conversationOf(current.record.id);
    if (conversation) show(conversation);
    else startNew();
  },
  rename: async (id, title) => (await conversationOf(id))?.rename(title),
  delete: async (id) => {
    leave(id);
    await store.delete(id);
    if (current.record.id === id) startNew();
    else sidebar.refresh();
  },
});

function setSettings(settings) {
  const kept = current.set(settings);
  composer.show(current);
  return kept;
}

function changeSettings() {
  askSettings(current.record.settings, (settings, asDefault) => {
    if (asDefault) remember("defaults", JSON.stringify(settings));
    return setSettings(settings);
  });
}

function switchTheme() {
  const { dataset } = document.documentElement;
  dataset.theme = dataset.theme === "dark" ? "light" : "dark";
  remember("theme", dataset.theme);
}

const lastAnswer = () => current.path.findLast(({ role }) => role === "assistant");

async function copyLast() {
  const text = lastAnswer()?.content;
  if (!text) warn(S.nothingToCopy);
  else if (await copyText(text)) announce(S.copied);
  else warn(S.copyFailed);
}

// Alt with a letter, by the letter's place on the keyboard: on some machines Alt makes another letter of it.
const SHORTCUTS = {
  KeyN: startNew,
  KeyK: () => (sidebar.toggle(true), sidebar.search.select()),
  KeyT: () => composer.toggleThinking(),
  KeyA: () => actions.endThinking(),
  KeyR: () => lastAnswer() && actions.answerAgain(lastAnswer()),
  KeyC: copyLast,
  KeyS: changeSettings,
};

addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  const typing = event.target.closest?.("input, textarea, select");
  // In the search field it empties that.
  if (event.key === "Escape" && current.answer && event.target !== sidebar.search) {
    current.stop();
  } else if (event.altKey && !event.ctrlKey && !event.metaKey && SHORTCUTS[event.code]) {
    event.preventDefault();
    SHORTCUTS[event.code]();
  } else if (!typing && event.key === "/") {
    event.preventDefault();
    composer.focus();
  } else if (!typing && event.key === "?") showShortcuts();
});

byId("new-chat").addEventListener("click", startNew);
byId("shortcuts").addEventListener("click", showShortcuts);
byId("theme").addEventListener("click", switchTheme);
byId("settings").addEventListener("click", changeSettings);
byId("code").addEventListener("click", () =>
  showCode(bodyToShow(current.path, current.record.settings, model, composer.text), api.hasKey()),
);
store.onChange(async ({ id, gone, running }) => {
  if (gone) leave(id);
  if (!running) sidebar.refresh();
  // Nothing is shown yet.
  if (!current) return;
  if (gone && current.record.id === id) return startNew();
  // Of what runs there only the begin and the end are shown.
  if (!gone && !(running && current.elsewhere)) await readAgain(id);
});
store.onAsked((id) => Boolean(opened.get(id)?.answer));
addEventListener("pagehide", () => [...opened.values()].forEach((conversation) => conversation.keepNow()));

if (!store.keeps) warn(S.noStorage);
addEventListener("popstate", openAddressed);
await openAddressed();
byId("app").removeAttribute("aria-busy");

async function learnModel() {
  if (learning) return;
  learning = true;
  try {
    const [first] = await api.models();
    Object.assign(model, { id: first.id, context: first.max_model_len ?? null });
    showHeader();
    // What renders starts with its first text: before the user has asked something.
    await api.render("", true);
  } catch {
    // The first message says what is wrong, and waits for the server where that helps.
  } finally {
    learning = false;
  }
}
learnModel();
