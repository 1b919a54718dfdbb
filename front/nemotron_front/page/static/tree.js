// A conversation's messages as a tree: an edited question and an answer given again are branches beside the old ones,
// and nothing is lost. What is shown is the path from the root to the conversation's leaf.
//
// A message: {id, conversation, parent, created, role: "user" | "assistant" | "tool", content} and
//   of a user: files [{name, text}];
//   of a tool: call (the id of the call), name;
//   of the assistant: reasoning, calls [{id, name, arguments}], finish, phase, error, model and figures, see answer.js.

/** The messages from the root to a leaf; empty for null. */
export function pathTo(messages, leaf) {
  const path = [];
  const seen = new Set();
  for (let id = leaf; messages.has(id) && !seen.has(id); id = messages.get(id).parent) {
    seen.add(id);
    path.unshift(messages.get(id));
  }
  return path;
}

// Two tabs can make a version each in one millisecond: the order is the same in both.
const byAge = (a, b) => a.created - b.created || (a.id < b.id ? -1 : 1);

const childrenOf = (messages, id) => [...messages.values()].filter(({ parent }) => parent === id).sort(byAge);

/** The messages with the same parent, the oldest first: the versions of one place in the conversation. */
export const versions = (messages, { parent }) => childrenOf(messages, parent);

/** The leaf that the latest branch under a message ends in. */
export function latestLeaf(messages, message) {
  for (let last = message; ; ) {
    const next = childrenOf(messages, last.id).at(-1);
    if (!next) return last.id;
    last = next;
  }
}

/** The calls of the path's last assistant message that have no result yet. */
export function openCalls(path) {
  const last = path.at(-1);
  return last?.role === "assistant" && last.phase === "done" ? (last.calls ?? []) : [];
}

/** A title: the start of a conversation's first message. */
export function titleOf(text) {
  const line = text.trim().split("\n", 1)[0].trim();
  return line.length > 60 ? `${line.slice(0, 59).trimEnd()}…` : line;
}
