"""The model repository against NVIDIA's stock one, and against itself."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format  # type: ignore[import-untyped]
from tritonclient.grpc import model_config_pb2

from nemotron_client import ModelInfo
from nemotron_serving.launcher.triton_files import about
from nemotron_serving.render import main, rendered
from tests.unit.serving.support import make_package

ROOT = Path(__file__).parents[2]
REPOSITORY = ROOT / "model_repository"
STOCK: dict[str, Any] = json.loads((Path(__file__).parent / "stock_ensemble.json").read_text())
MODELS = ["preprocessing", "tensorrt_llm", "postprocessing", "ensemble", "session", "unary"]

Tensors = dict[str, tuple[str, list[int]]]
"""Type and dims by name."""


def config(model: str) -> Any:
    """The config.pbtxt of a model, as Triton reads it."""
    return text_format.Parse((REPOSITORY / model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def tensors(listed: Any) -> Tensors:
    found = {one.name: (model_config_pb2.DataType.Name(one.data_type), list(one.dims)) for one in listed}
    assert len(found) == len(listed), "a name is listed twice"
    return found


@pytest.mark.parametrize("direction", ["input", "output"])
@pytest.mark.parametrize("model", ["ensemble", "tensorrt_llm"])
def test_every_stock_tensor_is_there_with_its_type_and_dims(model: str, direction: str) -> None:
    ours = tensors(getattr(config(model), direction))
    stock = STOCK[model][f"{direction}s"]
    assert len(stock) > 15
    for tensor in stock:
        assert tensor["name"] in ours, f"{model} lacks the {direction} {tensor['name']}"
        data_type, dims = ours[tensor["name"]]
        # A ${placeholder} is for whoever fills the template in.
        assert tensor["data_type"].startswith("${") or data_type == tensor["data_type"], tensor["name"]
        assert dims == tensor["dims"], tensor["name"]


@pytest.mark.parametrize("model", ["ensemble", "tensorrt_llm"])
def test_inputs_renamed_in_1_0_are_there_under_both_names(model: str) -> None:
    ours = tensors(config(model).input)
    for name, old in STOCK["renamed_in_1.0"].items():
        assert ours[old] == ours[name], old


@pytest.mark.parametrize("model", ["ensemble", "tensorrt_llm"])
def test_no_input_is_required_that_a_stock_client_may_not_send(model: str) -> None:
    assert [tensor.name for tensor in config(model).input if not tensor.optional] == []


@pytest.mark.parametrize("model", MODELS)
def test_a_batch_dimension_as_in_the_stock_models(model: str) -> None:
    assert config(model).max_batch_size > 0
    assert config(model).name == model


def test_only_the_generating_model_is_decoupled() -> None:
    decoupled = {model: config(model).model_transaction_policy.decoupled for model in MODELS}
    assert [model for model, is_decoupled in decoupled.items() if is_decoupled] == ["tensorrt_llm"]


def test_the_unary_front_is_the_ensemble_for_clients_that_only_know_infer() -> None:
    unary, ensemble = config("unary"), config("ensemble")
    assert tensors(unary.input) == tensors(ensemble.input)
    assert tensors(unary.output) == tensors(ensemble.output)
    assert all(tensor.optional for tensor in unary.input)


def test_a_session_takes_what_the_ensemble_takes_and_its_key() -> None:
    session, ensemble = config("session"), config("ensemble")
    assert [tensor.name for tensor in session.input if tensor.name not in tensors(ensemble.input)] == ["session"]
    assert all(tensor.optional for tensor in session.input), "Triton 2.51 never answers where one is missing"
    assert tensors([tensor for tensor in session.input if tensor.name != "session"]) == tensors(ensemble.input)


def test_the_files_are_what_the_contract_renders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = rendered(ROOT)
    configs = {path for path in files if path.name == "config.pbtxt"}
    assert (
        {path.parent.name for path in configs}
        == set(MODELS)
        == {path.parent.name for path in REPOSITORY.glob("*/config.pbtxt")}
    )
    pages = {path for path in files if path.suffix == ".md"}
    assert files.keys() - configs - pages == {Path("client/nemotron_client/_contract.py")}
    for path, text in files.items():
        assert (ROOT / path).read_text() == text, f"{path} is out of date: run 'make render'"
    (tmp_path / "docs").mkdir()
    for page in pages:
        (tmp_path / page).write_text((ROOT / page).read_text())
    monkeypatch.setattr("sys.argv", ["render", str(tmp_path)])
    main()
    for path, text in files.items():
        assert (tmp_path / path).read_text() == text


def test_what_is_no_checkout_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["render", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"has no docs/requests\.md"):
        main()
    assert not list(tmp_path.iterdir())


def test_every_step_of_the_ensemble_fits_its_model_and_its_neighbours() -> None:
    ensemble = config("ensemble")
    inputs, outputs = tensors(ensemble.input), tensors(ensemble.output)
    known, used = dict(inputs), set()
    for step in ensemble.ensemble_scheduling.step:
        model = config(step.model_name)
        takes, gives = tensors(model.input), tensors(model.output)
        for name, source in step.input_map.items():
            assert takes[name] == known[source], f"{step.model_name}.{name} is fed with {source}"
            used.add(source)
        required = {tensor.name for tensor in model.input if not tensor.optional}
        assert required <= set(step.input_map), step.model_name
        for name, target in step.output_map.items():
            assert target not in known, f"{target} is written twice"
            known[target] = gives[name]
    assert used >= set(inputs), f"inputs that nothing reads: {set(inputs) - used}"
    assert {name: known[name] for name in outputs} == outputs
    assert set(known) - used == set(outputs), "something is made that nobody gets"


def test_the_client_reads_what_the_launcher_says_of_a_package(tmp_path: Path) -> None:
    package = make_package(tmp_path)
    said = about(package)
    model = ModelInfo.of(said)
    assert model is not None
    assert {name: str(value).lower() for name, value in asdict(model).items()} == {
        name: value.lower() for name, value in said.items()
    }
    assert ModelInfo.of({**said, "more": "x"}) == model  # a newer server
    assert ModelInfo.of({name: value for name, value in said.items() if name != "precision"}) is None
