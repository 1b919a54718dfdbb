"""`nemotron-build verify`: read every byte of a package and show what it is."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from nemotron_serving.package import Package


def verify(path: Path) -> Table:
    """Check a package completely.

    Returns:
        Its name, engine, limits and files, to be shown.

    Raises:
        PackageError: naming what is wrong.
    """
    package = Package.load(path)
    package.verify_files()
    manifest, limits = package.manifest, package.serving.limits
    engine = manifest.engine
    table = Table(title=f"{path}: whole and unaltered", title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    rows = {
        "name": manifest.name,
        "created by": manifest.created_by,
        "source": "\n".join(f"{name}: {value}" for name, value in manifest.source.items()),
        "engine": f"{engine.kind} {engine.version} on {engine.device}, {engine.machine}",
        "precision": engine.precision,
        "model name": package.serving.model_name,
        "max_seq_len": f"{limits.max_seq_len:,} tokens",
        "max_prompt_bytes": f"{limits.max_prompt_bytes:,} bytes",
        "max_batch_size": f"{limits.max_batch_size:,} requests, and max_waiting {limits.max_waiting:,} behind them",
        "default_timeout": f"{limits.default_timeout_ms:,} ms",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    table.add_section()
    for name, record in manifest.files.items():
        table.add_row(name, f"{record.bytes:,} bytes")
    return table
