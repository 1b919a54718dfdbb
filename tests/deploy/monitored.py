"""Prometheus and Alertmanager as programs on this machine, with the configurations of deploy/monitoring."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.deploy.tools import DEPLOY, tool
from tests.running import end
from tests.waiting import wait_until

MONITORING = DEPLOY / "monitoring"
START_S = 120
SCRAPE = "3s"
_LISTENS = re.compile(r'msg="Listening on" address=(\S+)')
_COMPARISON = re.compile(r"(?:==|>|<) (?=\d)")


class Prometheus:
    """One that runs, and what can be asked of it."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, path: str, **query: str) -> Any:
        """Its API."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=30) as response:
            return json.load(response)["data"]

    def values(self, expr: str) -> list[float]:
        """Of all series of a query."""
        return [float(one["value"][1]) for one in self.ask("query", query=expr)["result"]]

    def alerts(self) -> list[dict[str, Any]]:
        """Those that fire."""
        return [one for one in self.ask("alerts")["alerts"] if one["state"] == "firing"]

    def names(self) -> set[str]:
        """Of all metrics that it has."""
        return set(self.ask("label/__name__/values"))


class Told:
    """A receiver of Alertmanager's messages, by the path they came to."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._lock = threading.Lock()
        self._alerts: list[tuple[str, dict[str, Any]]] = []

    def add(self, path: str, message: dict[str, Any]) -> None:
        """A message has come."""
        with self._lock:
            self._alerts += [(path, alert) for alert in message["alerts"]]

    def last(self, alertname: str) -> dict[tuple[str, str], str]:
        """What was told last of an alert, firing or resolved, by the path and the instance."""
        with self._lock:
            return {
                (path, alert["labels"].get("instance", "")): alert["status"]
                for path, alert in self._alerts
                if alert["labels"]["alertname"] == alertname
            }


@contextlib.contextmanager
def receiving() -> Iterator[Told]:
    """A receiver of webhooks until the block ends."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.add(self.path, json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Be silent."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told = Told(f"127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def alertmanager(told: Told, directory: Path) -> Iterator[str]:
    """Alertmanager, which waits for nothing and tells the receiver; where it listens."""
    text = (MONITORING / "alertmanager.yaml").read_text(encoding="utf-8")
    assert text.count("localhost:9095") == 2
    text = re.sub(r"(group_wait|group_interval): \S+", r"\1: 1s", text.replace("localhost:9095", told.address))
    (directory / "alertmanager.yaml").write_text(text, encoding="utf-8")
    options = ["--cluster.listen-address=", f"--storage.path={directory / 'alertmanager'}"]
    with _running(
        "prometheus-alertmanager", [f"--config.file={directory / 'alertmanager.yaml'}", *options], directory
    ) as at:
        yield at


def quick(rules: str) -> str:
    """The rules, with alerts that fire at once."""
    return re.sub(r"\bfor: \S+", "for: 0s", rules)


def without_thresholds(rules: str) -> str:
    """Alerts that fire for every series of their expression, whatever its value, with `Shown` before their names."""
    alerts = rules[rules.index("  - name: nemotron.replicas") :].replace("- name: ", "- name: shown.")
    return "groups:\n" + _COMPARISON.sub(">= bool ", alerts).replace("alert: ", "alert: Shown")


@contextlib.contextmanager
def prometheus(targets: Mapping[str, Sequence[str]], manager: str, directory: Path) -> Iterator[Prometheus]:
    """Prometheus, which looks often at other targets, by the names of their jobs.

    A page that takes longer than `SCRAPE` counts as that of a target that is down, so this is many times what one
    takes. Its rules are those of deploy/monitoring but for the time that alerts wait, and the same without thresholds.
    """
    text = (MONITORING / "prometheus.yaml").read_text(encoding="utf-8")
    for name, value in (("scrape_interval", SCRAPE), ("evaluation_interval", "1s")):
        assert f"{name}: 15s" in text
        text = text.replace(f"{name}: 15s", f"{name}: {value}")
    text = text.replace('["alertmanager:9093"]', json.dumps([manager]))
    for job, addresses in targets.items():
        text, count = re.subn(
            rf"(job_name: {job}\n(?:    .*\n)*?.*targets: ).*", rf"\g<1>{json.dumps(list(addresses))}", text
        )
        assert count == 1, job
    rules = (MONITORING / "rules" / "nemotron.yaml").read_text(encoding="utf-8")
    (directory / "rules").mkdir()
    (directory / "rules" / "quick.yaml").write_text(quick(rules), encoding="utf-8")
    (directory / "rules" / "shown.yaml").write_text(quick(without_thresholds(rules)), encoding="utf-8")
    (directory / "prometheus.yaml").write_text(text, encoding="utf-8")
    options = [f"--config.file={directory / 'prometheus.yaml'}", f"--storage.tsdb.path={directory / 'prometheus'}"]
    with _running("prometheus", options, directory) as at:

        def is_ready() -> bool:
            """It listens some time before it can be asked."""
            with (
                contextlib.suppress(urllib.error.HTTPError),
                urllib.request.urlopen(f"http://{at}/-/ready", timeout=30),
            ):
                return True
            return False

        wait_until(is_ready, START_S)
        yield Prometheus(at)


@contextlib.contextmanager
def _running(name: str, options: Sequence[str], directory: Path) -> Iterator[str]:
    """A program until the block ends, whatever happens in it; where it listens, which its log says."""
    log = directory / f"{name}.log"
    with log.open("wb") as output:
        command = [str(tool(name)), "--web.listen-address=127.0.0.1:0", *options]
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:

        def listens() -> re.Match[str] | None:
            assert process.poll() is None, log.read_text()
            return _LISTENS.search(log.read_text())

        wait_until(listens, START_S)
        found = listens()
        assert found is not None
        yield found[1]
    finally:
        end(process)
