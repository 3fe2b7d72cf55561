# `make up` and `make test` need only python3 (3.11 to 3.13) and make. `make help` lists all targets.
.DEFAULT_GOAL := help
.PHONY: help up test test-fast test-export test-gpu test-device device-models test-cluster test-wheel test-deploy constraints sbom coverage lint format types protos protos-check templates templates-check templates-sample check training demo clean

# Arguments for the command of a target: make test ARGS="-k sampler", make up ARGS="--rest 127.0.0.1:9000"
ARGS ?=
PROMPT ?= A serene mountain lake at sunset
# A folder, a .safetensors file or OWNER/NAME on the hub, not taken from the environment: make up MODEL=stabilityai/sd-turbo
MODEL =
# The file of the first image. PICTURE is its former name.
FIRST_IMAGE ?= $(or $(PICTURE),outputs/first-image.png)

BIN := .venv/bin
EXPORT_BIN := .venv-export/bin
GPU_BIN := .venv-gpu/bin
DEVICE_BIN := .venv-device/bin
CLUSTER_BIN := .venv-cluster/bin
DEPLOY_BIN := .venv-deploy/bin
PROTOS_BIN := .venv-protos/bin
# With COVERAGE=1, tests record the lines that they reach; `make coverage` prints the report.
PYTEST = $(if $(COVERAGE),-m coverage run --parallel-mode $(COVERED)) -m pytest
# Tests that do not depend on the checkout: they run against the installed wheel as well.
WHEEL_TESTS := tests/conftest.py tests/support tests/test_end_to_end.py tests/test_rust_free.py tests/cli
# Clients in JavaScript for tests of the gateway. Without npm or its registry these tests are skipped.
NODE := tests/gateway/clients/node
PACKAGES := v1 service gateway cluster cli export training

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

up: .venv/served ## Start service and gateway, make an image, serve until Ctrl-C; MODEL=... instead of the built-in model
	@mkdir -p $(dir $(FIRST_IMAGE))
	@exec $(BIN)/tintype up --first-image "$(PROMPT)" --output $(FIRST_IMAGE) $(if $(MODEL),--model "$(MODEL)") $(ARGS)

test: .venv/stamp $(if $(shell command -v npm),$(NODE)/node_modules/stamp) ## Run the tests that need no torch
	$(BIN)/python $(PYTEST) -m "not torch" $(ARGS)

test-fast: .venv/stamp ## Run only the tests that start no model, browser or other program (a few minutes)
	HYPOTHESIS_PROFILE=fast $(BIN)/python $(PYTEST) -m "not torch and not slow" $(ARGS)

# Recording lines takes a tenth of the time of these tests; those of the other folders are recorded by `make test`.
test-export: COVERED = --source=export
test-export: .venv-export/stamp .venv-peers/stamp ## Run the tests that compare with torch and diffusers (installs them)
	$(EXPORT_BIN)/python $(PYTEST) -m torch $(ARGS)

test-gpu: .venv-gpu/stamp ## Run GPU tests and benchmarks on an NVIDIA GPU (installs CUDA and TensorRT); ARGS: models
	$(GPU_BIN)/python -m pytest -m "gpu and not torch"
	$(GPU_BIN)/python bench/gpu.py $(ARGS)

# Families whose tiny pipelines the device tests export and run; without, test-device runs those in DEVICE_MODELS.
FAMILIES ?=
DEVICE_MODELS := build/device-models
# Requests of the test of a device's memory: two seconds each in software. With fewer than 16 it is skipped.
REQUESTS := 200

test-device: .venv-device/stamp $(if $(FAMILIES),device-models) ## Run the tests of a device on WebGPU, in software unless SOFTWARE=no; FAMILIES: whole images, too
	@TINTYPE_TEST_EXPORTS=$(DEVICE_MODELS) TINTYPE_TEST_REQUESTS=$(REQUESTS) .ci/test-device $(DEVICE_BIN)/python $(PYTEST) tests/device $(ARGS)

test-cluster: .venv-cluster/stamp ## Run the tests on two Ray nodes on this machine (installs Ray); they take minutes
	$(CLUSTER_BIN)/python -m pytest tests/cluster $(ARGS)

device-models: .venv-export/stamp ## Export tiny pipelines in half precision for test-device; FAMILIES: not all
	$(EXPORT_BIN)/python tests/support/export/device_models.py $(DEVICE_MODELS) $(FAMILIES)

test-wheel: .venv/stamp ## Build the wheel and test it in a separate environment, outside the checkout
	rm -rf build/wheel && mkdir -p build/wheel/tests
	$(BIN)/python -m build --outdir build/wheel . > /dev/null
	PYTHONS=$(BIN)/python .ci/venv build/wheel/venv build/wheel/*.whl pytest pytest-timeout openai
	cp -r $(WHEEL_TESTS) build/wheel/tests
	cp -r .ci build/wheel
	cd build/wheel && venv/bin/python -P -c 'import tintype.service as it; assert "site-packages" in it.__file__, it'
	cd build/wheel && venv/bin/python -P -m pytest --rootdir . tests $(ARGS)

# Without its tools (deploy/requirements.txt) the tests that need them are skipped, as in `make test`.
test-deploy: .venv/stamp .venv-deploy/stamp ## Check deploy/ with a Dockerfile linter, Kubernetes' schemas and systemd-analyze
	PATH="$(CURDIR)/$(DEPLOY_BIN):$$PATH" $(BIN)/python $(PYTEST) tests/deploy $(ARGS)

constraints: .venv-deploy/stamp ## Resolve the packages of a release again, with hashes (minutes); ARGS: cpu, cuda or build
	$(DEPLOY_BIN)/python deploy/constraints/update.py $(ARGS)

# Kinds of installations that `make sbom` describes.
KINDS ?= cpu cuda

sbom: .venv-deploy/stamp ## Describe the packages of a release as CycloneDX in build/sbom (installs them); KINDS: cpu, cuda
	@mkdir -p build/sbom
	@for kind in $(KINDS); do \
		.ci/venv build/sbom/$$kind --no-deps --require-hashes --requirement deploy/constraints/$$kind.txt && \
		$(DEPLOY_BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
			--output-file build/sbom/tintype-$$kind.cdx.json build/sbom/$$kind/bin/python || exit; \
	done

coverage: .venv/stamp ## Print the coverage of `make test test-export COVERAGE=1`; fails below the floor
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

lint: .venv/stamp ## Check the style of every file
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: .venv/stamp ## Fix the style where ruff can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# mypy cannot follow an editable installation whose folders and packages have different names.
types: .venv/stamp ## Check the types
	@mkdir -p build/namespace/tintype
	@for package in $(filter-out v1,$(PACKAGES)); do ln -sfn ../../../$$package build/namespace/tintype/$$package; done
	@ln -sfn ../../../protos/tintype/v1 build/namespace/tintype/v1
	MYPYPATH=build/namespace $(BIN)/mypy $(foreach package,$(PACKAGES),-p tintype.$(package))
	MYPYPATH=build/namespace:bench $(BIN)/mypy tests bench

protos: .venv-protos/stamp ## Generate the stubs from the contract
	$(PROTOS_BIN)/python protos/generate.py

protos-check: .venv-protos/stamp .venv/stamp ## Check that stubs match the contract, and that the contract is compatible with the last release
	$(PROTOS_BIN)/python protos/generate.py --check
	$(BIN)/buf lint
	$(BIN)/buf breaking --against protos/image_service.binpb

templates: .venv-export/stamp ## Make the templates of published architectures again; ARGS: their names
	$(EXPORT_BIN)/python -m tintype.export.templates $(ARGS)

templates-check: .venv-export/stamp ## Check that templates can be made again, byte for byte
	$(EXPORT_BIN)/python -m tintype.export.templates --check $(ARGS)

templates-sample: .venv-export/stamp ## Check one template of each kind of graph
	$(EXPORT_BIN)/python -m tintype.export.templates --check --sample

check: lint types protos-check test ## Run all checks that need no torch

training: .venv-export/stamp ## Render, train, pack, verify and score the built-in model (hours on a CPU); ARGS=score runs one step
	$(EXPORT_BIN)/python -m tintype.training $(or $(ARGS),all)

demo: training # the target's former name

clean: ## Remove environments and build outputs
	rm -rf .venv .venv-export .venv-peers .venv-gpu .venv-device .venv-cluster .venv-deploy .venv-protos build dist $(NODE)/node_modules *.egg-info .coverage* .mypy_cache .ruff_cache .pytest_cache

# Only what serving needs; the first `make test` adds the development tools.
.venv/served: pyproject.toml
	@.ci/venv .venv --editable .
	@touch $@

.venv/stamp: pyproject.toml
	@.ci/venv .venv --editable '.[dev]'
	@touch $@ .venv/served

# The exact versions that the comparison was made with; all of them have wheels for Python 3.11. diffusers loads adapters
# with peft; its LMS sampler and beta schedules need scipy.
.venv-export/stamp: pyproject.toml export/constraints.txt
	@PYTHONS="$${PYTHONS:-python3.11 python3 python3.12 python3.13}" \
		.ci/venv .venv-export --editable '.[dev,export]' peft scipy --constraint export/constraints.txt
	@touch $@

# Tests run programs of tests/support/peers in it.
.venv-peers/stamp: pyproject.toml export/constraints-peers.txt
	@PYTHONS="$${PYTHONS:-python3.11 python3 python3.12 python3.13}" \
		.ci/venv .venv-peers --editable '.[peers]' --constraint export/constraints-peers.txt
	@touch $@

# Its packages are those of .venv and the plugin, which other tests must not find.
.venv-device/stamp: .venv/stamp
	@$(BIN)/python -m venv --clear .venv-device
	@packages='import site; print(site.getsitepackages()[0])'; \
		echo "import site; site.addsitedir('$$($(BIN)/python -c "$$packages")')" > "$$($(DEVICE_BIN)/python -c "$$packages")/venv.pth"
	@extra='import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["webgpu"])'; \
		if $(DEVICE_BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps "$$($(BIN)/python -c "$$extra")"; \
		then touch $@; else echo "cannot install onnxruntime-ep-webgpu: the device tests are skipped" >&2; fi

# Ray brings Rust, so it has an environment of its own.
.venv-cluster/stamp: pyproject.toml
	@.ci/venv .venv-cluster --editable '.[cluster]' pytest pytest-timeout pyyaml
	@touch $@

.venv-deploy/stamp: deploy/requirements.txt
	@if .ci/venv .venv-deploy --requirement deploy/requirements.txt; then touch $@; else \
		echo "cannot install the tools of deploy/requirements.txt: their checks are skipped" >&2; fi

.venv-gpu/stamp: pyproject.toml constraints-gpu.txt
	@.ci/venv .venv-gpu --editable '.[dev,cuda]' --constraint constraints-gpu.txt
	@.ci/venv .venv-gpu --editable '.[tensorrt]' --constraint constraints-gpu.txt || echo "cannot install TensorRT: its tests are skipped" >&2
	@touch $@

$(NODE)/node_modules/stamp: $(NODE)/package-lock.json
	@if npm ci --prefix $(NODE) --ignore-scripts --no-audit --no-fund --loglevel error --fetch-retries 1; then touch $@; else \
		echo "npm cannot install the clients in $(NODE): their tests are skipped" >&2; fi

.venv-protos/stamp: protos/requirements.txt
	@.ci/venv .venv-protos --requirement protos/requirements.txt
	@touch $@
