// What checking.py is to the Python programs.
export const FRONT_URL = process.env.FRONT_URL ?? "http://127.0.0.1:9000";
export const MODEL_URL = process.env.MODEL_URL ?? "http://127.0.0.1:9000";
export const SMALL_MODEL = process.env.SMALL_MODEL ?? "SmolLM2-135M-Instruct";
export const MODEL = "nvidia/llama-3.1-nemotron-nano-8b-v1";
export const QUESTION = "What is two plus two? [sim:think]";
export const THINKING = "The user wants to see me think. Two plus two is four, and four is even.";
export const ANSWER = "The answer is 4.";
export const TOOL_QUESTION = "What is the weather like in Bangkok? [sim:tool]";
export const TOOL_ANSWER = "It is 31 °C and sunny in Bangkok.";

export async function runChecks(checks) {
  const outcomes = {};
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check();
      outcomes[name] = null;
    } catch (error) {
      outcomes[name] = error.stack;
    }
  }
  console.log(JSON.stringify(outcomes));
}
