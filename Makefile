# Every command of the project; `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCKS := requirements.lock models/common/requirements.lock
TORCH_LOCKS := models/common/torch-cpu.lock models/common/torch.lock
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Install only what the locks name: pip refuses files with another hash, and resolves nothing.
INSTALL := $(PIP) install --require-hashes --no-deps
PEERS := bench/peers/.venv-mlflow/.done bench/peers/.venv-ray/.done

.PHONY: help demo run check check-static check-unit test e2e chaos lint image uninstall lock sbom bundle openapi translations bench bench-peers clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.run ## set up, then train one experiment through the HTTP API
	@$(BIN)/python tools/demo.py

run: $(VENV)/.run ## serve on 127.0.0.1:31112 until Ctrl-C
	@$(BIN)/python -m backend serve

check: $(VENV)/.dev ## ruff, mypy and the unit tests, in under a minute
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target check-static check-unit

check-static:
	@tools/lint.sh $(BIN) python

check-unit:
	@$(BIN)/python -m pytest -q -n 2 tests/unit

test: $(VENV)/.dev ## set up, then unit, component, integration and browser tests
	@tools/install-test-services.sh
	@$(BIN)/python -m pytest -n 2 --dist loadgroup

e2e: $(VENV)/.dev ## end-to-end tests on the cluster of your KUBECONFIG
	@$(BIN)/python -m pytest tests/e2e

chaos: $(VENV)/.dev ## break everything while clients work (ON=replicas: two servers; ON=lab: on LAB's services; SEED, RUNS)
	@$(BIN)/python -m tests.chaos $(if $(ON),--on $(ON)) $(if $(SEED),--seed $(SEED)) \
		$(if $(RUNS),--runs $(RUNS))

lint: $(VENV)/.dev ## every static check
	@tools/lint.sh $(BIN)

image: ## build all images and push them to REPOSITORY_URL (default localhost:5000)
	@./build.sh

uninstall: ## remove the backend from the cluster of your KUBECONFIG; folders and database stay
	@tools/uninstall.sh

bench: $(VENV)/.bench ## measure and write docs/performance.md (QUICK=1: fewer rounds, printed only)
	@tools/install-test-services.sh bench
	@$(BIN)/python -m bench.run

bench-peers: $(VENV)/.bench $(PEERS) ## install MLflow and Ray into bench/peers and measure them beside this program
	@tools/install-test-services.sh bench
	@$(BIN)/python -m bench.run peers

openapi: $(VENV)/.dev ## write docs/openapi.json and the Postman collection
	@$(BIN)/python -m tools.openapi

translations: $(VENV)/.dev ## bring the Korean texts up to date, and name those without a translation
	@$(BIN)/python -m tools.translations

lock: $(VENV)/.dev ## choose the exact versions in *.lock again
	@$(BIN)/python -m tools.lock --upgrade

sbom: $(VENV)/.dev ## write what all images contain (CycloneDX) to sbom/
	@$(BIN)/python -m tools.sbom

bundle: $(VENV)/.dev ## write all that an installation without the internet needs to dist/, from REPOSITORY_URL
	@$(BIN)/python -m tools.bundle

clean: ## remove the virtual environments and caches, but no data and no output
	@rm -rf $(VENV) $(dir $(PEERS)) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@tools/make-venv.sh $(PYTHON) $(VENV)

$(VENV)/.run: $(VENV)/bin/python $(LOCKS) $(TORCH_LOCKS)
	@echo "Installing into $(VENV) (once; PyTorch is the large part) ..."
	@$(INSTALL) $(addprefix -r ,$(LOCKS))
	@$(INSTALL) -r $(firstword $(TORCH_LOCKS)) 2>/dev/null || \
		{ echo "pip finds no CPU build of PyTorch with a hash in the lock: installing the larger GPU build ..."; \
		$(INSTALL) -r $(lastword $(TORCH_LOCKS)); }
	@$(PIP) check >/dev/null || $(PIP) check
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock
	@echo "Installing the test tools into $(VENV) (once) ..."
	@$(INSTALL) -r requirements-dev.lock
	@$(PIP) check >/dev/null || $(PIP) check
	@touch $@

$(VENV)/.bench: $(VENV)/.dev requirements-bench.lock
	@$(INSTALL) -r requirements-bench.lock
	@$(PIP) check >/dev/null || $(PIP) check
	@touch $@

bench/peers/.venv-%/.done: bench/peers/%.txt
	@echo "Installing $* into $(@D) (once) ..."
	@tools/make-venv.sh $(PYTHON) $(@D)
	@$(@D)/bin/python -m pip --disable-pip-version-check --quiet install -r $<
	@touch $@
