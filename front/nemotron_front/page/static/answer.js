// One running answer: fills an assistant's message from the stream, measures, waits for a server that is full or
// restarting, stops, and ends the thinking.
//
// A message that has content already is gone on with: what comes is added, and its counts are those of the whole.
//
// The fields it fills: phase ("waiting", "thinking", "answering", and at the end "done", "stopped" or "failed"),
// reasoning, content, calls, finish (the reason that the server gave), cut (the true word behind "length"),
// budgetReached, thinkingEnded (by the user), error {message, code, param}, notice (what it waits for),
// usage {prompt, output, reasoning, cached} in tokens, ttft and thinkingTime in seconds, rate in output tokens a
// second, model.

import * as api from "./api.js";
import { S } from "./strings.js";

// How long it asks a server again that cannot take the request just now.
const PATIENCE_MS = 5 * 60_000;

export const ended = (message) => ["done", "stopped", "failed"].includes(message.phase);

export class Answer {
  /** Whether nothing more comes: it is being kept, and then told. */
  over = false;
  #abort = new AbortController();
  #changed;
  #body;
  #started = 0;
  #first = null;
  #thinkingFrom = null;
  #keep;
  #before;

  /**
   * `changed()` is called after each change of the message. `keep(whole)` is waited for before the last one: who sees
   * that an answer is over can close the page.
   */
  constructor(message, body, changed, keep) {
    this.message = message;
    this.#body = body;
    this.#changed = changed;
    this.#keep = keep;
    this.#before = message.usage;
    const { reasoning = "", content = "" } = message;
    const fresh = { calls: [], finish: null, cut: null, error: null, notice: null, interrupted: false };
    Object.assign(message, { phase: "waiting", reasoning, content, ...fresh });
  }

  /** Runs to the end; never raises. */
  async run() {
    const { message } = this;
    const patience = performance.now() + PATIENCE_MS;
    for (;;) {
      this.#started = performance.now();
      try {
        for await (const chunk of api.chat(this.#body, this.#abort.signal)) this.#take(chunk);
        return this.#end("done");
      } catch (error) {
        if (error.name === "AbortError") return this.#end("stopped");
        if (!(error instanceof api.ApiError)) {
          console.error(error);
          error = new api.ApiError(S.badAnswer);
        }
        message.error = { message: error.message, code: error.code, param: error.param };
        if (!error.passing || performance.now() > patience) return this.#end("failed");
        try {
          await this.#wait(error);
        } catch {
          return this.#end("stopped");
        }
        message.error = null;
      }
    }
  }

  /** Seconds that the thinking takes so far. */
  get thinkingSeconds() {
    return this.#thinkingFrom === null ? 0 : (performance.now() - this.#thinkingFrom) / 1000;
  }

  /** Leaves the request: the server frees its place. */
  stop() {
    this.#abort.abort();
  }

  /** Ends the thinking; the answer comes next. Raises ApiError. */
  async endThinking() {
    if (this.message.phase !== "thinking") return;
    // The stream may tell of it before the server has answered this.
    this.message.thinkingEnded = true;
    try {
      await api.endThinking(this.message.completion);
    } catch (error) {
      this.message.thinkingEnded = false;
      throw error;
    }
  }

  async #wait(error) {
    const { signal } = this.#abort;
    if (error.status === 429) {
      for (let left = Math.ceil(error.retryAfter ?? 2); left > 0; left--) {
        this.#say(S.full(left));
        await api.pause(1000, signal);
      }
    } else {
      this.#say(error.status === 503 ? S.restarting : S.serverDown);
      await api.pause(500, signal);
      await api.untilReady(signal);
    }
    this.#say(null);
  }

  #say(notice) {
    this.message.notice = notice;
    this.#changed();
  }

  #take(chunk) {
    const { message } = this;
    const now = performance.now();
    message.completion = chunk.id;
    message.model = chunk.model ?? message.model;
    const choice = chunk.choices?.[0];
    const { delta = {} } = choice ?? {};
    const reasoning = delta.reasoning_content ?? delta.reasoning;
    if (reasoning) {
      if (this.#thinkingFrom === null) this.#thinkingFrom = now;
      message.phase = "thinking";
      message.reasoning += reasoning;
    }
    if (delta.content || delta.tool_calls) {
      this.#endOfThinking(now);
      message.phase = "answering";
      message.content += delta.content ?? "";
      for (const part of delta.tool_calls ?? []) {
        const call = (message.calls[part.index] ??= { id: "", name: "", arguments: "" });
        call.id ||= part.id ?? "";
        call.name ||= part.function?.name ?? "";
        call.arguments += part.function?.arguments ?? "";
      }
    }
    if (choice?.finish_reason) {
      this.#endOfThinking(now);
      message.finish = choice.finish_reason;
      message.cut = choice.stop_reason ?? null;
    }
    if (choice?.thinking_budget_reached) message.budgetReached = true;
    this.#count(chunk.usage, now, Boolean(reasoning || delta.content || delta.tool_calls));
    this.#changed();
  }

  #count(usage, now, output) {
    const { message } = this;
    if (usage) {
      const before = this.#before;
      message.usage = {
        prompt: before?.prompt ?? usage.prompt_tokens,
        output: (before?.output ?? 0) + usage.completion_tokens,
        reasoning: before?.reasoning ?? usage.completion_tokens_details?.reasoning_tokens ?? null,
        cached: before?.cached ?? usage.prompt_tokens_details?.cached_tokens ?? null,
      };
    }
    if (output && this.#first === null) {
      this.#first = { at: now, tokens: usage?.completion_tokens ?? 1 };
      message.ttft ??= (now - this.#started) / 1000;
    }
    const seconds = this.#first === null ? 0 : (now - this.#first.at) / 1000;
    // A rate over less than this is noise.
    if (output && seconds > 0.2 && usage) message.rate = (usage.completion_tokens - this.#first.tokens) / seconds;
  }

  #endOfThinking(now) {
    if (this.#thinkingFrom === null || this.message.thinkingTime !== undefined) return;
    this.message.thinkingTime = (now - this.#thinkingFrom) / 1000;
  }

  async #end(phase) {
    this.over = true;
    this.#endOfThinking(performance.now());
    const end = { phase, notice: null };
    await this.#keep({ ...this.message, ...end });
    Object.assign(this.message, end);
    this.#changed();
  }
}
