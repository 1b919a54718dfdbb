// openai-node: whole and streamed, its helper, tools, typed answers, errors, responses.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { ANSWER, FRONT_URL, MODEL, MODEL_URL, QUESTION, SMALL_MODEL, THINKING, TOOL_ANSWER, TOOL_QUESTION, runChecks } from "./checking.mjs";

const client = new OpenAI({ baseURL: `${FRONT_URL}/v1`, apiKey: "none" });
const small = new OpenAI({ baseURL: `${MODEL_URL}/v1`, apiKey: "none" });
const messages = [{ role: "user", content: QUESTION }];
const think = { chat_template_kwargs: { enable_thinking: true } };
const getWeather = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather in a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    parse: JSON.parse,
    function: ({ city }) => `31 °C and sunny in ${city}`,
  },
};

await runChecks({
  async models() {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    assert(ids.includes(MODEL));
    assert.equal((await client.models.retrieve(MODEL)).id, MODEL);
  },

  async chat() {
    const reply = await client.chat.completions.create({ model: MODEL, messages, ...think });
    assert.equal(reply.choices[0].message.content, ANSWER);
    assert.equal(reply.choices[0].message.reasoning_content, THINKING);
    assert.equal(reply.usage.total_tokens, reply.usage.prompt_tokens + reply.usage.completion_tokens);
    assert(reply._request_id);
  },

  async stream() {
    let thinking = "", content = "", usage;
    const options = { stream: true, stream_options: { include_usage: true } };
    for await (const chunk of await client.chat.completions.create({ model: MODEL, messages, ...think, ...options })) {
      thinking += chunk.choices[0]?.delta.reasoning_content ?? "";
      content += chunk.choices[0]?.delta.content ?? "";
      usage = chunk.usage ?? usage;
    }
    assert.deepEqual([thinking, content], [THINKING, ANSWER]);
    assert(usage.completion_tokens > 0);
  },

  async streamHelper() {
    const stream = client.chat.completions.stream({ model: MODEL, messages });
    let content = "";
    stream.on("content", (delta) => { content += delta; });
    assert.equal(await stream.finalContent(), ANSWER);
    assert.equal(content, ANSWER);
  },

  async tools() {
    const asked = [{ role: "user", content: TOOL_QUESTION }];
    for (const stream of [false, true]) {
      const runner = client.chat.completions.runTools({ model: MODEL, messages: asked, tools: [getWeather], stream });
      assert.equal(await runner.finalContent(), TOOL_ANSWER);
    }
  },

  async typedAnswer() {
    const Capital = z.object({ city: z.enum(["Paris", "London", "Rome"]), is_large: z.boolean() });
    const reply = await small.chat.completions.parse({
      model: SMALL_MODEL,
      messages: [{ role: "user", content: "Describe the capital of France." }],
      response_format: zodResponseFormat(Capital, "capital"),
      max_completion_tokens: 200,
    });
    assert(Capital.parse(reply.choices[0].message.parsed));
  },

  async errors() {
    const refused = async (changes) =>
      client.chat.completions.create({ model: MODEL, messages, ...changes }).then(
        () => assert.fail(`${JSON.stringify(changes)} was accepted`),
        (error) => error,
      );
    const hot = await refused({ temperature: 9, stream: true });
    assert(hot instanceof OpenAI.BadRequestError);
    assert.equal(hot.param, "temperature");
    assert.equal((await refused({ model: "x" })).code, "model_not_found");
  },

  async errorInTheMiddle() {
    const asked = [{ role: "user", content: "Fail. [sim:fail]" }];
    let seen = "";
    await assert.rejects(async () => {
      for await (const chunk of await client.chat.completions.create({ model: MODEL, messages: asked, stream: true }))
        seen += chunk.choices[0].delta.content ?? "";
    }, OpenAI.APIError);
    assert(seen);
  },

  async responses() {
    const asked = { model: MODEL, input: QUESTION, reasoning: { effort: "high" } };
    assert.equal((await client.responses.create(asked)).output_text, ANSWER);
    const stream = client.responses.stream(asked);
    let text = "";
    for await (const event of stream) if (event.type === "response.output_text.delta") text += event.delta;
    assert.equal(text, ANSWER);
    assert.equal((await stream.finalResponse()).output_text, ANSWER);
  },
});
