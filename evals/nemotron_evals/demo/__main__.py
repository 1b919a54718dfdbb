"""Write what the simulated engine answers to the demo's questions, for `nemotron-build simulated --script`."""

from __future__ import annotations

import sys

import msgspec

from nemotron_evals.demo import played, scripts

sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(scripts(played())), indent=1))
