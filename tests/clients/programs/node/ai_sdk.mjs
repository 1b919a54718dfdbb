// The Vercel AI SDK with its openai-compatible provider: thinking, streams, tools, typed answers, errors.
import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, Output, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { ANSWER, FRONT_URL, MODEL, MODEL_URL, QUESTION, SMALL_MODEL, THINKING, TOOL_ANSWER, TOOL_QUESTION, runChecks } from "./checking.mjs";

const provider = (url) => createOpenAICompatible({ name: "nemotron", baseURL: `${url}/v1`, includeUsage: true, supportsStructuredOutputs: true });
const model = provider(FRONT_URL)(MODEL);
const small = provider(MODEL_URL)(SMALL_MODEL);
const think = { nemotron: { chat_template_kwargs: { enable_thinking: true } } };
const get_weather = tool({
  description: "The weather in a city",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `31 °C and sunny in ${city}`,
});
const withTools = { prompt: TOOL_QUESTION, tools: { get_weather }, stopWhen: stepCountIs(3) };

await runChecks({
  async generate() {
    const reply = await generateText({ model, prompt: QUESTION, providerOptions: think });
    assert.equal(reply.text, ANSWER);
    assert.equal(reply.reasoningText, THINKING);
    assert(reply.usage.outputTokens > 0);
  },

  async effort() {
    const off = await generateText({ model, prompt: QUESTION, providerOptions: { nemotron: { reasoningEffort: "none" } } });
    assert.equal(off.reasoningText, undefined);
  },

  async stream() {
    const reply = streamText({ model, prompt: QUESTION, providerOptions: think });
    let thinking = "", text = "";
    for await (const part of reply.fullStream) {
      if (part.type === "reasoning-delta") thinking += part.text;
      if (part.type === "text-delta") text += part.text;
    }
    assert.deepEqual([thinking, text], [THINKING, ANSWER]);
    assert((await reply.usage).outputTokens > 0);
  },

  async tools() {
    assert.equal((await generateText({ model, ...withTools })).text, TOOL_ANSWER);
    assert.equal(await (async () => { const reply = streamText({ model, ...withTools }); await reply.consumeStream(); return reply.text; })(), TOOL_ANSWER);
  },

  async typedAnswer() {
    const schema = z.object({ city: z.enum(["Paris", "London", "Rome"]), is_large: z.boolean() });
    const reply = await generateText({
      model: small,
      prompt: "Describe the capital of France.",
      output: Output.object({ schema }),
      maxOutputTokens: 200,
    });
    assert(schema.parse(reply.output));
  },

  async errors() {
    await assert.rejects(
      generateText({ model, prompt: QUESTION, temperature: 9 }),
      (error) => APICallError.isInstance(error) && error.statusCode === 400 && error.message.includes("temperature"),
    );
  },
});
