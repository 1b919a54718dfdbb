"""llama.cpp's own server on a GGUF, from the wheel `xllamacpp`. Prints its URL, and serves until its input closes."""

from __future__ import annotations

import os
import sys

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_parallel = int(sys.argv[2])
params.n_ctx = 1024 * params.n_parallel
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = os.cpu_count() or 1
params.hostnames = ["127.0.0.1"]
params.port = 0
params.verbosity = -1
server = xllamacpp.Server(params)
sys.stdout.write(f"{server.listening_address}\n")
sys.stdout.flush()
sys.stdin.read()
