# `make demo`: from a bare machine with Python >= 3.10 to a trained and tested detector.
# `make test`, `make lint`: what CI runs. `make onedl-test`: the tests on the other stack.
# `make docs`: the documentation as a site, in work_dirs/site.
# `make web`: the page that runs models in browsers, by Node.js. `make web-demo`: that page
# with the detector of `make demo`. `make test-web`: its tests, in Chromium.

PYTHON ?= python3
VENV ?= .venv
# Or `onedl`, in a VENV of its own: both bring the same import names.
STACK ?= openmmlab

BIN = $(VENV)/bin
INSTALLED = $(VENV)/.mmnv3-$(STACK)

DEMO = ssdlite_mnv3_small_demo
DEMO_DATA = work_dirs/demo_data
DEMO_WORK = work_dirs/$(DEMO)
DEMO_SITE = work_dirs/demo_site

PAGE = mmnv3/deploy/page/index.html

.PHONY: demo docs install lint onedl-test results test test-web web web-demo

demo: $(INSTALLED)
	$(BIN)/python tools/demo_data.py --out $(DEMO_DATA)
	$(BIN)/python tools/train.py configs/$(DEMO).py --work-dir $(DEMO_WORK)
	best=$$(ls -t $(DEMO_WORK)/best_*.pth 2> /dev/null | head -n 1); \
	$(BIN)/python tools/test.py configs/$(DEMO).py \
	    "$${best:-$$(cat $(DEMO_WORK)/last_checkpoint)}" \
	    --work-dir $(DEMO_WORK) --show-dir pictures

# A process per core. Files stay whole, and so do those that share what they export.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --dist loadgroup

# The same on the OneDL forks.
onedl-test:
	$(MAKE) test STACK=onedl VENV=.venv-onedl

# Hours, which can be interrupted: what README's table tells, measured here.
results: $(INSTALLED)
	$(BIN)/python -m studies.results

docs: $(INSTALLED)
	$(BIN)/python -m pip install --quiet -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/mypy

web: $(PAGE)

web-demo: $(PAGE) $(INSTALLED)
	[ -e $(DEMO_WORK)/last_checkpoint ] || $(MAKE) demo
	best=$$(ls -t $(DEMO_WORK)/best_*.pth 2> /dev/null | head -n 1); \
	$(BIN)/python tools/export.py configs/$(DEMO).py \
	    "$${best:-$$(cat $(DEMO_WORK)/last_checkpoint)}" --format web --out $(DEMO_SITE)
	$(BIN)/python tools/web.py $(DEMO_SITE)

test-web: $(PAGE) $(INSTALLED)
	$(BIN)/python -m pip install --quiet -e '.[test-web]'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/web

$(PAGE): web/node_modules/.package-lock.json $(wildcard web/*.* web/src/* web/public/*)
	cd web && npm run build

web/node_modules/.package-lock.json: web/package-lock.json
	cd web && npm ci --no-fund --no-audit
	touch $@

install: $(INSTALLED)

$(INSTALLED): setup.py pyproject.toml $(wildcard mmnv3/compat/*startup.py) | $(BIN)/python
	$(BIN)/python -m pip install -e '.[$(STACK),test]'
	touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
