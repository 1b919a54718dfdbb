"""`nemotron-build verify` of a package: every byte, the tokenizer, the engine's files against what was promised."""

from __future__ import annotations

from pathlib import Path

from nemotron_build.chat_format import check_tokenizer
from nemotron_build.checkpoint.files import QUANTIZATION_CONFIG
from nemotron_build.checkpoint.shape import CONFIG
from nemotron_build.errors import VerificationError
from nemotron_serving.engine.tensorrt_llm.files import EngineConfig, engine_file, read_config
from nemotron_serving.package import CHAT_TEMPLATE, MANIFEST, Package


def is_package(path: Path) -> bool:
    """Whether a directory is a package, whole or not, rather than a converted checkpoint."""
    return (path / MANIFEST).exists() or not (path / CONFIG).exists()


def verify(path: Path) -> tuple[Package, list[str]]:
    """Check a package completely.

    Returns:
        The package, and what was checked beside its hashes, a line each.

    Raises:
        PackageError: it is damaged or altered, or does not fit this machine.
        VerificationError: its parts do not fit each other.
    """
    from tokenizers import Tokenizer

    package = Package.load(path)
    package.verify_files()
    if package.serving.chat_format == "template" and CHAT_TEMPLATE not in package.manifest.files:
        raise VerificationError(f"{path} has no {CHAT_TEMPLATE}, its chat format is 'template'. Build it again.")
    tokenizer, serving = Tokenizer.from_file(str(package.tokenizer_path)), package.serving
    checks = [check_tokenizer(tokenizer, serving.chat_format, serving.stop_token_ids)]
    if package.manifest.engine.kind == "tensorrt_llm":
        checks.append(_check_tensorrt_llm(package))
    if package.manifest.engine.kind == "openvino":
        from nemotron_build.cpu.to_openvino import ENGINE_FILES

        for name in ENGINE_FILES:
            if not (package.engine_path / name).is_file():
                raise VerificationError(f"{package.engine_path / name} is missing. Build the package again.")
    return package, checks


def _check_tensorrt_llm(package: Package) -> str:
    engine, limits = package.engine_path, package.serving.limits
    config = _read(engine)
    if config.build_config is None or config.pretrained_config is None:
        _check_checkpoint(package, config)
        return "the checkpoint in engine/ has the positions that limits promise"
    version = package.manifest.engine.version
    if config.version != version:
        raise VerificationError(
            f"{engine / CONFIG}: version is {config.version!r}, the manifest says {version!r}. Build it again."
        )
    for name in ("max_batch_size", "max_seq_len"):
        held, promised = getattr(config.build_config, name), getattr(limits, name)
        if held < promised:
            raise VerificationError(
                f"{engine / CONFIG}: {name} is {held}, the package promises {promised}. Build the package again."
            )
    for rank in range(config.pretrained_config.mapping.world_size):
        if not (engine / engine_file(rank)).is_file():
            raise VerificationError(f"{engine / engine_file(rank)} is missing. Build the package again.")
    return f"the engine was built by {version} and holds what limits promise"


def _check_checkpoint(package: Package, config: EngineConfig) -> None:
    engine, limits = package.engine_path, package.serving.limits
    if not config.architectures or not any(engine.glob("*.safetensors")):
        raise VerificationError(f"{engine} is neither an engine nor a checkpoint. Build the package again.")
    if limits.max_seq_len > config.max_position_embeddings:
        raise VerificationError(
            f"serving.json: max_seq_len is {limits.max_seq_len}, the checkpoint knows "
            f"{config.max_position_embeddings} positions. Build the package again."
        )
    wants_fp8 = "fp8" in package.manifest.engine.precision
    if wants_fp8 != (engine / QUANTIZATION_CONFIG).is_file():
        there = "missing" if wants_fp8 else "there"
        raise VerificationError(
            f"{engine / QUANTIZATION_CONFIG} is {there}, the manifest says {package.manifest.engine.precision}. "
            "Build the package again."
        )


def _read(engine: Path) -> EngineConfig:
    try:
        return read_config(engine)
    except (OSError, ValueError) as error:
        raise VerificationError(f"{engine / CONFIG} cannot be used: {error}. Build the package again.") from error
