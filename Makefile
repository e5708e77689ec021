# Everything happens in .venv, which `make clean` removes.
PYTHON ?= python3
VENV := .venv

PHOTOGRAPHS ?=
CIFAR ?=
STUDY ?=
OUT ?= bench

.PHONY: demo test check docs results bench clean

demo: $(VENV)/.demo ## a first study in a minute: five tricks on the embedded digits, a table and a page
	$(VENV)/bin/bot-sweep experiment=demo slots=2

test: $(VENV)/.test ## formatting, lint, types and tests
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" scripts/check
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" scripts/test

check: $(VENV)/.test ## formatting, lint and types
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" scripts/check

docs: $(VENV)/.docs ## the documentation site, site/index.html
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" scripts/docs

results: $(VENV)/.demo ## pages and pictures of the committed studies; STUDY=laptop/demo: trains its runs again (CIFAR=FOLDER)
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" scripts/results $(if $(STUDY),again results/$(STUDY) $(if $(CIFAR),data.root="$(CIFAR)"))

bench: $(VENV)/.test ## all benchmarks (PHOTOGRAPHS=FOLDER CIFAR=FOLDER OUT=bench); goes on where it was stopped
	$(VENV)/bin/python benchmarks/every.py --out "$(OUT)" --photographs "$(PHOTOGRAPHS)" --cifar "$(CIFAR)"
	$(VENV)/bin/python benchmarks/pictures.py "$(OUT)" "$(OUT)/figures"

$(VENV)/.demo: pyproject.toml constraints.txt
	PYTHON="$(PYTHON)" scripts/install $(VENV) plots
	touch $@

$(VENV)/.docs: pyproject.toml constraints.txt
	PYTHON="$(PYTHON)" scripts/install $(VENV) docs
	touch $@

$(VENV)/.test: pyproject.toml constraints.txt
	PYTHON="$(PYTHON)" scripts/install $(VENV) test
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" scripts/install-browser
	touch $@ $(VENV)/.demo $(VENV)/.docs

clean:
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
