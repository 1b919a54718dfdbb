// The settings of a conversation.

import { open } from "./dialogs.js";
import { button, el } from "./dom.js";
import { toolsOf } from "./request.js";
import { S } from "./strings.js";

const TOOL_EXAMPLE = [
  {
    type: "function",
    function: {
      name: "get_weather",
      description: S.toolExampleText,
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];

// Field, label, least, greatest, step: the server's ranges. Whole numbers have step 1.
const NUMBERS = [
  ["temperature", S.temperature, 0, 2, "any"],
  ["top_p", S.topP, 0, 1, "any"],
  ["max_tokens", S.maxTokens, 1, undefined, 1],
  ["budget", S.thinkingBudget, -1, undefined, 1],
  ["seed", S.seed, undefined, undefined, 1],
];

const HINTS = { max_tokens: S.maxTokensHint, budget: S.thinkingBudgetHint };

class Wrong extends Error {}

function numberOf(input, label, low, high, step) {
  const text = input.value.trim();
  if (input.validity.badInput)
    throw new Wrong(step === 1 ? S.wrong.integer(label, low) : S.wrong.number(label, low, high));
  if (text === "") return null;
  const value = Number(text);
  const fits = Number.isFinite(value) && (low === undefined || value >= low) && (high === undefined || value <= high);
  if (step === 1 && !(fits && Number.isSafeInteger(value))) throw new Wrong(S.wrong.integer(label, low));
  if (!fits) throw new Wrong(S.wrong.number(label, low, high));
  return value;
}

function parsed(label, text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Wrong(S.wrong.json(label, error.message));
  }
}

/** Raises Wrong for texts that the server would not understand. */
function check(settings) {
  if (settings.stop.length > 32) throw new Wrong(S.wrong.stops);
  if (settings.tools.trim()) parsed(S.tools, settings.tools);
  const tools = toolsOf(settings);
  if (
    !Array.isArray(tools) ||
    !tools.every((tool) => tool?.type === "function" && typeof tool.function?.name === "string")
  )
    throw new Wrong(S.wrong.tools);
  if (settings.format === "json_schema") {
    const schema = parsed(S.schema, settings.schema);
    if (schema === null || typeof schema !== "object" || Array.isArray(schema)) throw new Wrong(S.wrong.schema);
  }
  if (settings.format !== "text" && tools.length && settings.toolChoice !== "none") throw new Wrong(S.wrong.both);
}

const toLines = (stops) => stops.map((stop) => stop.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")).join("\n");

const fromLines = (text) =>
  text
    .split("\n")
    .filter(Boolean)
    .map((line) => line.replace(/\\(\\|n)/g, (_, what) => (what === "n" ? "\n" : "\\")));

/** Lets the user change settings: `keep(settings, asDefault)` is called with what is saved, and shown as done once it is. */
export function askSettings(settings, keep) {
  const field = (label, control, hint) => {
    control.id = `set-${label.replace(/\W+/g, "-").toLowerCase()}`;
    if (hint) control.setAttribute("aria-describedby", `${control.id}-hint`);
    return el(
      "div",
      { class: "field" },
      el("label", { text: label, for: control.id }),
      control,
      hint ? el("p", { class: "quiet", text: hint, id: `${control.id}-hint` }) : null,
    );
  };
  const select = (names, chosen) => {
    const control = el("select", {}, ...Object.entries(names).map(([value, text]) => el("option", { value, text })));
    control.value = chosen;
    return control;
  };
  const area = (value, rows, code) =>
    el("textarea", { rows, value, class: code ? "source" : null, spellcheck: code ? "false" : null });

  return open(
    S.settings,
    (close) => {
      const system = area(settings.system, 4, false);
      const numbers = NUMBERS.map(([name, label, low, high, step]) => [
        el("input", {
          type: "number",
          step,
          min: low,
          max: high,
          value: settings[name] ?? "",
          placeholder: S.serverDefault,
          inputmode: step === 1 ? "numeric" : "decimal",
        }),
        name,
        label,
        low,
        high,
        step,
      ]);
      const stop = area(toLines(settings.stop), 2, true);
      const tools = area(settings.tools, 6, true);
      const toolChoice = select(S.toolChoices, settings.toolChoice);
      const format = select(S.formats, settings.format);
      const schema = area(settings.schema, 6, true);
      const schemaField = field(S.schema, schema);
      const showSchema = () => (schemaField.hidden = format.value !== "json_schema");
      format.addEventListener("change", showSchema);
      showSchema();
      const example = button({
        text: S.toolExample,
        class: "small",
        click: () => (tools.value = JSON.stringify(TOOL_EXAMPLE, null, 2)),
      });
      const wrong = el("p", { class: "error", role: "alert", hidden: true });
      const save = async (asDefault) => {
        try {
          const changed = {
            ...settings,
            system: system.value,
            stop: fromLines(stop.value),
            tools: tools.value,
            toolChoice: toolChoice.value,
            format: format.value,
            schema: schema.value,
            ...Object.fromEntries(numbers.map(([input, name, ...range]) => [name, numberOf(input, ...range)])),
          };
          check(changed);
          await keep(changed, asDefault);
          close();
        } catch (error) {
          if (!(error instanceof Wrong)) throw error;
          wrong.textContent = error.message;
          wrong.hidden = false;
        }
      };
      const group = (title, ...children) => el("fieldset", {}, el("legend", { text: title }), ...children);
      return [
        el("p", { class: "quiet", text: S.settingsText }),
        el(
          "form",
          { class: "stack", novalidate: true, on: { submit: (event) => (event.preventDefault(), save(false)) } },
          field(S.system, system, S.systemHint),
          group(
            S.sampling,
            el(
              "div",
              { class: "grid" },
              ...numbers.map(([input, name, label]) => field(label, input, HINTS[name])),
            ),
            field(S.stopStrings, stop, S.stopHint),
          ),
          group(
            S.tools,
            field(S.tools, tools, S.toolsHint),
            el("div", { class: "bar" }, example),
            field(S.toolChoice, toolChoice),
          ),
          group(S.format, field(S.format, format), schemaField),
          el(
            "div",
            { class: "bar end sticky" },
            // Beside what was pressed: the form is higher than the screen.
            wrong,
            button({ text: S.saveDefault, click: () => save(true) }),
            el("button", { type: "submit", class: "primary", text: S.save }),
          ),
        ),
      ];
    },
    { wide: true },
  );
}
