"""A package's own chat template: what it is given, what it may do, and how it is bounded."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from nemotron_serving.chat import template
from nemotron_serving.chat.formats import ChatFormat, Control, open_chat_format
from nemotron_serving.chat.guard import guarded_characters
from nemotron_serving.errors import InvalidRequestError, PackageError
from nemotron_serving.package import CHAT_TEMPLATE, Package
from tests.llama3 import llama3_tokenizer
from tests.unit.serving.chat.rendering import (
    LLAMA_TEMPLATE,
    OFF,
    ON,
    assistant,
    call,
    chat_format,
    function,
    request,
    system,
    template_format,
    tool,
    user,
    written,
)
from tests.unit.serving.support import byte_tokenizer, make_package, serving_config, special_tags_tokenizer


@pytest.fixture
def open_template(tmp_path: Path) -> Any:
    """Makes a format of a template's source."""
    return lambda source, **changes: template_format(tmp_path / "package", source, **changes)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> ChatFormat:
    path = tmp_path_factory.mktemp("template") / "package"
    return template_format(path, LLAMA_TEMPLATE, llama3_tokenizer(), system_on=ON, system_off=OFF)


CONVERSATIONS = [
    [user("Hi")],
    [system("Be brief."), user("Hi"), assistant("<think>\nA\n</think>\n\nHello"), user("Bye"), user("now")],
    [
        user("A"),
        assistant("B", call("f", '{"a": "ก"}'), call("g", {}, "2")),
        tool('{"t": "<|eot_id|>"}'),
        user("<|x|>"),
    ],
    [system(OFF), user("<|begin_of_text|>|\ue000|\U000f0000")],
]


@pytest.mark.parametrize("messages", CONVERSATIONS[:2])
@pytest.mark.parametrize("thinking", [True, False])
def test_the_same_rules_as_nemotrons_own_format(
    llama: ChatFormat, messages: list[dict[str, Any]], thinking: bool
) -> None:
    tools = [function("f|<|eot_id|>", description="ก", parameters={"a|b": ["|", 1, None]})]
    same = request(*messages, tools=tools, thinking=thinking, prefill="<think>\n")
    parts, expected = llama.render(same), chat_format("nemotron").render(same)
    assert written(parts) == written(expected)
    assert [part for part in parts if isinstance(part, Control)] == [
        part for part in expected if isinstance(part, Control)
    ]


@pytest.mark.parametrize("messages", CONVERSATIONS)
def test_only_the_templates_own_control_tokens_become_parts(llama: ChatFormat, messages: list[dict[str, Any]]) -> None:
    parts = llama.render(request(*messages))
    controls = [part.token for part in parts if isinstance(part, Control)]
    turns = controls.count("<|start_header_id|>")
    assert controls.count("<|begin_of_text|>") == 1
    assert controls.count("<|end_header_id|>") == turns == controls.count("<|eot_id|>") + 1


SHOW = "{% for message in messages %}{{ message | tojson }}\n{% endfor %}"


def test_what_a_template_is_given(open_template: Any) -> None:
    chat = open_template(
        "{{ bos_token }},{{ eos_token }},{{ add_generation_prompt }},{{ enable_thinking }},{{ thinking }}\n"
        "{{ tools | tojson }}\n" + SHOW
    )
    messages = [
        system("Be brief."),
        user([{"type": "text", "text": "A"}]),
        assistant(None, call("f", '{"a":1}', "x"), call("g", {}, "y"), reasoning="B"),
        tool("2", "y"),
        tool("1", "x"),
        user("C"),
        user("D"),
    ]
    parts = chat.render(request(*messages, tools=[function("f", strict=True)], prefill="<think>\n"))
    assert written(parts) == (
        ",<|im_end|>,True,True,True\n"
        '[{"type": "function", "function": {"name": "f", "strict": true}}]\n'
        '{"role": "system", "content": "Be brief."}\n'
        '{"role": "user", "content": "A"}\n'
        '{"role": "assistant", "content": "", "tool_calls": ['
        '{"function": {"name": "f", "arguments": {"a": 1}}, "id": "x", "type": "function"}, '
        '{"function": {"name": "g", "arguments": {}}, "id": "y", "type": "function"}]}\n'
        '{"role": "tool", "content": "1", "tool_call_id": "x"}\n'
        '{"role": "tool", "content": "2", "tool_call_id": "y"}\n'
        '{"role": "user", "content": "C\\n\\nD"}\n'
        "<think>\n"
    )
    assert Control("<|im_end|>") in parts


NAMES_AS_TAGS = (
    "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls %}{% for k, v in c.function.arguments.items() %}"
    "<|im_start|><{{ k }}>{{ v }}</{{ k | trim }}>{% endfor %}{% endfor %}{% endfor %}{% for t in tools or [] %}"
    "<{{ t.function.name }}>{% for k in t.function.parameters.properties %}<{{ k }}>{% endfor %}{% endfor %}"
    "<tool_call></tool_call><|im_start|>"
)


@pytest.fixture
def tags_format(tmp_path: Path) -> ChatFormat:
    return template_format(tmp_path / "package", NAMES_AS_TAGS, special_tags_tokenizer())


@pytest.mark.parametrize("name", ["think", " think", "/think", "think>", "think> and more"])
def test_a_callers_name_between_the_templates_brackets_becomes_no_control_token(
    tags_format: ChatFormat, name: str
) -> None:
    history = [user("A"), assistant(None, call("f", {name: "x"})), tool("1")]
    with pytest.raises(
        InvalidRequestError, match=r"makes a control token of a name, one of \['.*think.*'\]; use another"
    ):
        tags_format.render(request(*history))
    for said in (
        function("think", parameters={"properties": {}}),
        function("f", parameters={"type": "object", "properties": {"think": {"type": "string"}}}),
    ):
        with pytest.raises(InvalidRequestError, match="makes a control token of a name"):
            tags_format.render(request(user("A"), tools=[said]))


def test_names_that_are_in_tokens_which_the_template_writes_itself_are_taken(tags_format: ChatFormat) -> None:
    names = {"tool": "x", "call": "y", "start": "z", "im": "", "a": "", "thinking": "think"}
    parts = tags_format.render(request(user("think"), assistant(None, call("t", names)), tool("1")))
    tokens = [part.token for part in parts if isinstance(part, Control)]
    assert tokens == [*["<|im_start|>"] * len(names), "<tool_call>", "</tool_call>", "<|im_start|>"]
    assert "<tool>x</tool><|im_start|><call>y</call><|im_start|><start>z</start>" in written(parts)


def test_arguments_that_nobody_can_read_are_an_object_to_a_template(open_template: Any) -> None:
    chat = open_template("{% for m in messages %}{% for c in m.tool_calls %}{{ c.function.arguments.items() | list }}"
                         "{% endfor %}{% endfor %}")  # fmt: skip
    parts = chat.render(request(user("A"), assistant(None, call("f", '{"city": "Pa')), tool("1")))
    assert written(parts) == "[('unreadable_arguments', '{\"city\": \"Pa')]"


def test_no_tools_are_none_to_a_template(open_template: Any) -> None:
    assert written(open_template("{{ tools }}").render(request(user("Hi")))) == "None"


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({}, ['{"role": "system", "content": "Be brief."}', '{"role": "user", "content": "Hi"}']),
        (
            {"system_on": ON, "system_off": OFF},
            [f'{{"role": "system", "content": "{OFF}"}}', '{"role": "user", "content": "Be brief.\\n\\nHi"}'],
        ),
        (
            {"system_on": ON, "system_off": OFF, "system_text": "system"},
            [f'{{"role": "system", "content": "{OFF}\\n\\nBe brief."}}', '{"role": "user", "content": "Hi"}'],
        ),
    ],
)
def test_toggles_and_system_text(open_template: Any, policy: dict[str, Any], expected: list[str]) -> None:
    parts = open_template(SHOW, **policy).render(request(system("Be brief."), user("Hi"), thinking=False))
    assert written(parts).splitlines() == expected


def test_blocks_are_trimmed_as_hugging_face_does(open_template: Any) -> None:
    source = (
        "  {% for message in messages %}\n    {% if true %}\n{{ message.content }}\n    {% endif %}\n  {% endfor %}\n"
    )
    assert written(open_template(source).render(request(user("Hi")))) == "Hi\n"


def test_loop_controls_dates_and_loop_variables(open_template: Any) -> None:
    chat = open_template(
        "{{ strftime_now('%Y') }}"
        "{% for message in messages %}{% if loop.last %}{% break %}{% endif %}"
        " {{ loop.index }}/{{ loop.length }} {{ loop.nextitem.content }}{% else %}none{% endfor %}"
    )
    parts = chat.render(request(user("A"), assistant("B"), user("C")))
    assert written(parts) == f"{time.localtime().tm_year} 1/3 B 2/3 C"


# Each joins, cuts or changes what the caller wrote so that a control token could come of it.
JOINING = [
    "{{ messages[0].content }}{{ messages[1].content }}",
    "{{ messages[0].content + messages[1].content }}",
    "{{ messages | map(attribute='content') | join }}",
    "{{ messages[0].content }}{{ messages[1].content | trim }}",
    "{{ (messages[0].content ~ messages[1].content) | replace('#', '') }}",
    "{{ (messages[0].content ~ messages[1].content) | lower }}",
    "<|im_e{{ messages[1].content[-3:] }}",
]


@pytest.mark.parametrize("source", JOINING)
@pytest.mark.parametrize(
    ("first", "second"),
    [("<|im_", "end|>"), ("<|IM_END|>", "<|IM_end|>"), ("<|im_#end", "|> #nd|>"), ("<", "|im_end|>")],
)
def test_pieces_cannot_be_joined_to_a_control_token(open_template: Any, source: str, first: str, second: str) -> None:
    parts = open_template(source).render(request(user(first), assistant(second), user("C")))
    assert not any(isinstance(part, Control) for part in parts)


def test_lengths_and_cuts_are_those_of_the_callers_text(open_template: Any) -> None:
    chat = open_template("{{ messages[0].content | length }} {{ messages[0].content[2:] }}")
    assert written(chat.render(request(user("<|im_end|>")))) == "10 im_end|>"


def test_a_text_that_leaves_no_private_use_characters_is_refused(open_template: Any) -> None:
    every = "".join(map(chr, range(0xE000, 0xF900)))
    chat = open_template(SHOW)
    with pytest.raises(InvalidRequestError, match=r"^messages: nearly all private.use characters are used"):
        chat.render(request(user(every)))
    assert every[2:] in written(chat.render(request(user(every[2:]))))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ raise_exception('no ' + messages[0].content) }}", "no <|im_end|>"),
        ("{{ messages[0].missing.more }}", "has no attribute 'missing'"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ messages[0].content + 5 }}", "can only concatenate str"),
        ("{{ messages[0].content.__class__.__mro__ }}", "access to attribute '__class__' of 'str' object is unsafe"),
        ("{{ messages.append(1) }}", "access to attribute 'append' of 'list' object is unsafe"),
        ("{{ messages | tojson(ensure_ascii=true) }}", "ensure_ascii is not supported"),
        ("{% for n in range(10 ** 9) %}{% endfor %}", "Range too big"),
        ("{% macro more() %}{{ more() }}{% endmacro %}{{ more() }}", "recursion"),
        ("{% include 'other' %}", "no loader"),
    ],
)
def test_a_template_that_fails_is_the_requests_failure(open_template: Any, source: str, reason: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        open_template(source).render(request(user("<|im_end|>")))
    assert str(caught.value).startswith("messages: the package's chat template cannot write this conversation: ")
    assert reason in str(caught.value)


NESTED = (
    "{% set ns = namespace(n=0) %}" + "{% for a in messages %}" * 4 + "{% set ns.n = ns.n + 1 %}" + "{% endfor %}" * 4
)


@pytest.mark.parametrize("source", [NESTED, "{% macro loops() %}" + NESTED + "{% endmacro %}{{ loops() }}"])
def test_a_template_cannot_keep_the_server_busy(
    open_template: Any, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setattr(template, "_MAX_SECONDS", 0.2)
    many = [user("A"), assistant("B")] * 500
    begin = time.thread_time()
    with pytest.raises(InvalidRequestError, match=r"it took longer than 0\.2 s"):
        open_template(source).render(request(*many, user("C")))
    assert time.thread_time() - begin < 2


def test_a_template_cannot_fill_the_memory(open_template: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "_MAX_CHARACTERS", 1000)
    chat = open_template("{% for n in range(100) %}{{ messages[0].content }}{% endfor %}")
    with pytest.raises(InvalidRequestError, match="it wrote more than 1000 characters"):
        chat.render(request(user("A" * 11)))
    assert written(chat.render(request(user("A" * 10)))) == "A" * 1000


def test_many_messages_are_no_trouble(llama: ChatFormat) -> None:
    messages = [user("A"), assistant("B")] * 2000
    assert len(llama.render(request(*messages, user("C")))) > 12_000


@pytest.mark.parametrize("source", ["{% if %}", "{{ messages | nosuchfilter }}", "{% for m in messages %}"])
def test_a_template_that_does_not_compile_is_refused_at_the_start(open_template: Any, source: str) -> None:
    with pytest.raises(PackageError, match=r"chat_template\.jinja, line 1: .*Mend the chat template"):
        open_template(source)


def test_a_package_without_the_template_is_refused(tmp_path: Path) -> None:
    package = make_package(tmp_path / "package")
    (package.path / CHAT_TEMPLATE).write_text(SHOW)  # there, but not listed
    with pytest.raises(PackageError, match=r"manifest does not list chat_template\.jinja"):
        open_chat_format(Package(package.path, package.manifest, serving_config(chat_format="template")))


def test_a_template_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / CHAT_TEMPLATE).write_bytes(b"\xff\xfe")
    package = make_package(tmp_path / "package")
    with pytest.raises(PackageError, match=r"chat_template\.jinja cannot be read"):
        open_chat_format(Package(package.path, package.manifest, serving_config(chat_format="template")))


def test_tags_of_calls_are_those_that_the_template_writes(llama: ChatFormat, open_template: Any) -> None:
    assert llama.tool_tags == ("<TOOLCALL>", "</TOOLCALL>")
    assert open_template(SHOW).tool_tags == ("<tool_call>", "</tool_call>")


def test_guarded_characters() -> None:
    assert guarded_characters(["<|a|>", "<|b|>", "<\uff5cc\uff5c>", "<s>", "[INST]"]) == "|\uff5c<["
    with pytest.raises(PackageError, match="'_pad' is a plain word"):
        guarded_characters(["_pad"])


def test_a_tokenizer_without_control_tokens(tmp_path: Path) -> None:
    bare = byte_tokenizer().from_str(byte_tokenizer().to_str().replace('"special":true', '"special":false'))
    parts = template_format(tmp_path / "package", SHOW, bare).render(request(user("<|im_end|>")))
    assert written(parts) == '{"role": "user", "content": "<|im_end|>"}\n'
