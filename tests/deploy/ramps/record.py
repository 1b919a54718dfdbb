"""Records what an autoscaler sees: the gauges of a real server under ramps of nemotron-bench, once a second.

    python tests/deploy/ramps/record.py            writes all of them again, in twenty minutes
    python tests/deploy/ramps/record.py rise       one of them

The server has the simulated engine, in which a request has a known time: 40 tokens, a tenth of a second each. With 256
places nobody waits, so the requests in flight are the traffic itself; `rise-full` is the same traffic, request by
request, on a server with 8 places and room for 1,000 that wait.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
SERVICE_S = 4.0
PLACES = 8  # of the server that fills up, and of each replica in the tests
ROOMY = 256
# The traffic in requests a second, over time.
RISE = 'kind = "ramp"\nfrom_rate = 1.0\nto_rate = 8.0\nover_s = 60'
DAY = 'kind = "staircase"\nrates = [1.0, 3.0, 8.0, 8.0, 8.0, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0]\nstep_s = 60'
SPIKE = 'kind = "spike"\nrate = 2.0\npeak_rate = 12.0\nat_s = 60\nfor_s = 45'
RECORDINGS = {
    "rise": (RISE, 180, ROOMY),
    "rise-full": (RISE, 180, PLACES),
    "spike": (SPIKE, 180, ROOMY),
    "day": (DAY, 660, ROOMY),
}


def scenario(arrivals: str, seconds: int) -> str:
    """What nemotron-bench is to send."""
    head = f'duration_s = {seconds}\nwarmup_s = 5\ndrain_s = 120\nuser = "http_generate"\nseed = 16\n'
    sizes = "input_tokens = 32\noutput_tokens = 40\nthinking_share = 0.0\n"
    return f'{head}[arrivals]\n{arrivals}\n[workload]\nkind = "synthetic"\n{sizes}'


def record(name: str, directory: Path) -> dict[str, Any]:
    """Serve, load, and read what the load generator has scraped."""
    arrivals, seconds, places = RECORDINGS[name]
    package, ready, file = directory / "package", directory / "ready.json", directory / "scenario.toml"
    sizes = ["--token-ms", "100", "--ttft-ms", "100", "--max-batch-size", str(places), "--max-waiting", "1000"]
    subprocess.run([BIN / "nemotron-build", "simulated", "-o", package, *sizes], check=True)
    ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0", "--ready-file", str(ready)]
    server = subprocess.Popen([BIN / "nemotron-serve", package, *ports])
    try:
        while not ready.exists():
            assert server.poll() is None, "nemotron-serve has ended"
            time.sleep(0.1)
        urls = json.loads(ready.read_text())
        file.write_text(scenario(arrivals, seconds))
        command = [BIN / "nemotron-bench", "run", file, "--url", urls["http_url"], "--metrics-url", urls["metrics_url"]]
        subprocess.run([*command, "--package", package, "-o", directory / "run"], check=True)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
    lines = (directory / "run" / "server.jsonl").read_text().splitlines()
    samples = [sample for sample in map(json.loads, lines) if sample["scraped"] and sample["at_s"] <= seconds]
    return {
        "how": f"tests/deploy/ramps/record.py {name}, on {time.strftime('%Y-%m-%d')}",
        "arrivals": arrivals.splitlines(),
        "places": places,
        "service_s": SERVICE_S,
        "at_s": [round(sample["at_s"], 2) for sample in samples],
        "in_flight": [round(sample["in_flight"]) for sample in samples],
        "waiting": [round(sample["waiting"]) for sample in samples],
    }


def main() -> None:
    """Record those that are named, or all."""
    for name in sys.argv[1:] or RECORDINGS:
        with tempfile.TemporaryDirectory() as directory:
            found = record(name, Path(directory))
        lines = ",\n ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in found.items())
        (HERE / f"{name}.json").write_text(f"{{{lines}}}\n")


if __name__ == "__main__":
    main()
