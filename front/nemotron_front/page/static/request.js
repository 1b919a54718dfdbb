// From a conversation's path and settings to the body of a request, and to the code that sends it.

import { S } from "./strings.js";

/** The settings of a new conversation: null and "" are the server's defaults. */
export const DEFAULTS = {
  system: "",
  thinking: true,
  budget: null,
  temperature: null,
  top_p: null,
  max_tokens: null,
  seed: null,
  stop: [],
  tools: "",
  toolChoice: "auto",
  format: "text",
  schema: "",
};

/** Whether an object holds settings that a request can be made of; what it leaves out has its default. */
export function settingsFit(given) {
  const settings = { ...DEFAULTS, ...given };
  const fits = (name) => {
    const value = settings[name];
    if (name === "stop") return Array.isArray(value) && value.every((stop) => typeof stop === "string");
    if (DEFAULTS[name] === null) return value === null || Number.isFinite(value);
    return typeof value === typeof DEFAULTS[name];
  };
  if (typeof given !== "object" || !Object.keys(DEFAULTS).every(fits)) return false;
  const { format, schema, toolChoice } = settings;
  if (!Object.hasOwn(S.formats, format) || !Object.hasOwn(S.toolChoices, toolChoice)) return false;
  try {
    if (format === "json_schema") JSON.parse(schema);
    return Array.isArray(toolsOf(settings));
  } catch {
    return false;
  }
}

/** A user's text with the attached files before it, each in a fence that is longer than any inside. */
export function withFiles(text, files = []) {
  const fenced = files.map((file) => {
    const longest = Math.max(2, ...(file.text.match(/`+/g) ?? []).map((run) => run.length));
    const fence = "`".repeat(longest + 1);
    return `${file.name}:\n${fence}\n${file.text.replace(/\n$/, "")}\n${fence}`;
  });
  return [...fenced, text].filter(Boolean).join("\n\n");
}

function forServer(message) {
  if (message.role === "user") return { role: "user", content: withFiles(message.content, message.files) };
  if (message.role === "tool") return { role: "tool", tool_call_id: message.call, content: message.content };
  const calls = (message.calls ?? []).map(({ id, name, arguments: given }) => ({
    id,
    type: "function",
    function: { name, arguments: given },
  }));
  return { role: "assistant", content: message.content, ...(calls.length ? { tool_calls: calls } : {}) };
}

/** The definitions in a settings text; [] for none. Raises what JSON.parse raises. */
export const toolsOf = (settings) => (settings.tools.trim() ? JSON.parse(settings.tools) : []);

// Output tokens of an answer where the user set no limit: a package's own default may be made for programs, and cuts
// a conversation short. With less room than the least of these the server decides.
const AUTOMATIC = { least: 256, most: 4096 };

/** A limit that fits the context for certain: a text has no more tokens than bytes, but for what the template adds. */
function automaticLimit({ messages, tools }, context) {
  const bytes = new TextEncoder().encode(JSON.stringify([messages, tools])).length;
  const limit = Math.min(AUTOMATIC.most, context - bytes - AUTOMATIC.least);
  return limit > AUTOMATIC.least ? limit : null;
}

/**
 * The body of the request that answers a path, or goes on with the answer that ends it. The thinking of earlier
 * answers is not sent back.
 */
export function bodyFor(path, settings, model) {
  const messages = path
    .filter(({ role, content, calls }) => role !== "assistant" || content || calls?.length)
    .map(forServer);
  if (settings.system.trim()) messages.unshift({ role: "system", content: settings.system });
  // Nothing is thought before what goes on, nothing is called because it must be, and it has no form.
  const goesOn = path.at(-1)?.role === "assistant";
  const thinking = settings.thinking && !goesOn;
  const body = {
    ...(model.id ? { model: model.id } : {}),
    messages,
    stream: true,
    stream_options: { include_usage: true, continuous_usage_stats: true },
    chat_template_kwargs: { enable_thinking: thinking },
    ...(goesOn ? { continue_final_message: true } : {}),
  };
  if (thinking && settings.budget !== null) body.thinking_token_budget = settings.budget;
  for (const name of ["temperature", "top_p", "seed"]) if (settings[name] !== null) body[name] = settings[name];
  if (settings.stop.length) body.stop = settings.stop;
  const tools = toolsOf(settings);
  if (tools.length && settings.toolChoice !== "none") {
    body.tools = tools;
    // Once its results are there, a forced call would be forced again, and there would never be an answer.
    const begun = goesOn || path.at(-1)?.role === "tool";
    body.tool_choice = begun && settings.toolChoice === "required" ? "auto" : settings.toolChoice;
  }
  const limit = settings.max_tokens ?? automaticLimit(body, model.context ?? 0);
  if (limit !== null) body.max_tokens = limit;
  if (settings.format === "json_object") body.response_format = { type: "json_object" };
  if (settings.format === "json_schema")
    body.response_format = {
      type: "json_schema",
      json_schema: { name: "answer", schema: JSON.parse(settings.schema) },
    };
  return body;
}

/** The request as a curl command. */
export function asCurl(body, origin, keyed) {
  const key = keyed ? ` -H "Authorization: Bearer $API_KEY" \\\n ` : "";
  return `curl -N ${origin}/v1/chat/completions \\\n  -H "Content-Type: application/json" \\\n ${key} -d @- <<'JSON'\n${JSON.stringify(body, null, 2)}\nJSON\n`;
}

function pythonValue(value, indent) {
  const inner = `${indent}    `;
  const lines = (items, open, shut) =>
    items.length ? `${open}\n${items.map((item) => `${inner}${item},\n`).join("")}${indent}${shut}` : open + shut;
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value))
    return lines(
      value.map((item) => pythonValue(item, inner)),
      "[",
      "]",
    );
  if (typeof value === "object")
    return lines(
      Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${pythonValue(item, inner)}`),
      "{",
      "}",
    );
  // JSON's strings and numbers are Python's too.
  return JSON.stringify(value);
}

// What openai-python knows by name; the rest goes into extra_body.
const OPENAI = new Set([
  "model",
  "messages",
  "stream",
  "stream_options",
  "temperature",
  "top_p",
  "max_tokens",
  "seed",
  "stop",
  "tools",
  "tool_choice",
  "response_format",
]);

/** The request as a Python program with the openai package. */
export function asPython(body, origin, keyed) {
  const own = Object.fromEntries(Object.entries(body).filter(([name]) => !OPENAI.has(name)));
  const rows = Object.entries(body).filter(([name]) => OPENAI.has(name));
  rows.push(["extra_body", own]);
  const given = rows.map(([name, value]) => `    ${name}=${pythonValue(value, "    ")},\n`).join("");
  return `${keyed ? "import os\n\n" : ""}from openai import OpenAI

client = OpenAI(base_url="${origin}/v1", api_key=${keyed ? 'os.environ["API_KEY"]' : '"none"'})
stream = client.chat.completions.create(
${given})
part = ""
for chunk in stream:
    for choice in chunk.choices:
        thinking = getattr(choice.delta, "reasoning_content", "")
        for name, text in ("Thinking", thinking), ("Answer", choice.delta.content):
            if text:
                print(text if part == name else f"\\n{name}: {text}", end="", flush=True)
                part = name
print()
`;
}

/** The body that "View as code" shows: the next request, with a placeholder where the user has typed nothing. */
export function bodyToShow(path, settings, model, draft) {
  const last = path.at(-1);
  const next =
    last?.role === "assistant" || !last ? [...path, { role: "user", content: draft || S.yourMessage }] : path;
  return bodyFor(next, settings, model);
}
