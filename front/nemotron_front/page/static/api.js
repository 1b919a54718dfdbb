// Talks to the server that this page came from, and to no other.

import { S } from "./strings.js";

const KEY = "api-key";

/** What went wrong with a request: the server's four fields, the HTTP status (0: no answer) and when to try again. */
export class ApiError extends Error {
  constructor(message, { status = 0, code = null, param = null, retryAfter = null, started = false } = {}) {
    super(message);
    Object.assign(this, { status, code, param, retryAfter, started });
  }

  /** The server is full, restarting or not there, and no output came yet: the same request may do later. */
  get passing() {
    return !this.started && (this.status === 0 || this.status === 429 || this.status === 503);
  }
}

let askForKey = async () => null;

/** Sets what asks the user for a key: called with true after a key was refused, resolves to a key or null. */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

let asking = null;

/** One dialog for all requests that miss a key at the same time. */
function newKey(refused) {
  asking ??= askForKey(refused).finally(() => (asking = null));
  return asking;
}

export const hasKey = () => sessionStorage.getItem(KEY) !== null;

async function failure(response) {
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    // Not JSON: something between the page and the server answered.
  }
  const seconds = Number(response.headers.get("retry-after"));
  return new ApiError(error.message ?? S.httpError(response.status, response.statusText), {
    status: response.status,
    code: error.code ?? null,
    param: error.param ?? null,
    retryAfter: seconds > 0 ? seconds : null,
  });
}

/** A request to a path of this origin. Asks for a key on 401. Raises ApiError; an abort stays an AbortError. */
export async function call(path, { body, signal } = {}) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const headers = {};
    if (body !== undefined) headers["content-type"] = "application/json";
    if (key !== null) headers.authorization = `Bearer ${key}`;
    let response;
    try {
      response = await fetch(path, {
        method: body === undefined ? "GET" : "POST",
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        signal,
        credentials: "omit",
        cache: "no-store",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(S.unreachable);
    }
    if (response.ok) return response;
    if (response.status !== 401) throw await failure(response);
    // Another request may have got a key while this one was on its way.
    if (sessionStorage.getItem(KEY) !== key) continue;
    const given = await newKey(key !== null);
    if (given === null) throw new ApiError(S.noKey, { status: 401, code: "invalid_api_key" });
    sessionStorage.setItem(KEY, given);
  }
}

/** The data of a body of server-sent events, one string an event. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    const parts = rest.split(/\r?\n\r?\n/);
    rest = parts.pop();
    for (const part of parts) {
      const data = part.split(/\r?\n/).filter((line) => line.startsWith("data:"));
      if (data.length) yield data.map((line) => line.slice(5).replace(/^ /, "")).join("\n");
    }
  }
}

/** The chunks of a streamed chat completion. A stream that ends without its end mark is an error. */
export async function* chat(body, signal) {
  const response = await call("/v1/chat/completions", { body, signal });
  try {
    for await (const data of events(response.body)) {
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ApiError(chunk.error.message, { status: 200, code: chunk.error.code, started: true });
      yield chunk;
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof ApiError) throw error;
    throw new ApiError(error instanceof SyntaxError ? S.badAnswer : S.connectionLost, { started: true });
  }
  throw new ApiError(S.connectionLost, { started: true });
}

/** Ends the thinking of a running completion. */
export async function endThinking(id) {
  await call("/v1/chat/completions/control", { body: { id, action: "reasoning_end" } });
}

/** The served models, the default one first. */
export async function models() {
  return (await (await call("/v1/models")).json()).data;
}

/**
 * A Markdown text as sanitized HTML: {blocks: those that cannot change as the text grows, open: the HTML of the rest,
 * consumed: how much of the text is in the blocks}. With `final` all is in the blocks.
 */
export async function render(text, final) {
  return (await call("/page/render", { body: { text, final } })).json();
}

/** Waits until the server says that it is ready. */
export async function untilReady(signal) {
  for (;;) {
    try {
      const response = await fetch("/v1/health/ready", { signal, cache: "no-store", credentials: "omit" });
      // Only this says that it will be ready later.
      if (response.status !== 503) return;
    } catch (error) {
      if (error.name === "AbortError") throw error;
    }
    await pause(1000, signal);
  }
}

/** Waits; an abort ends it with an AbortError. */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const aborted = () => {
      clearTimeout(timer);
      reject(new DOMException("stopped", "AbortError"));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", aborted);
      resolve();
    }, ms);
    if (signal?.aborted) aborted();
    else signal?.addEventListener("abort", aborted, { once: true });
  });
}
