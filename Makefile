# make demo   records Pong, trains the three stages and evaluates them
# make play   opens the world that comes with the package in the browser
# make pretrained   trains that world again, from nothing
# make test   the tests
# make test-fast   without what trains in processes of its own, takes a browser or several processes
# make coverage    the tests, and which lines they run
# make lint   ruff: lint and format; import-linter: which package may import which; pyright: types; tables of the documents
# make docs   the documentation as a site, in site/; make docs-serve shows it at 127.0.0.1:8001
# make package      sdist and wheel in dist/, checked
# make try-package  … installed into an environment of its own and used from an empty folder
# make test-oldest  tests with the oldest versions that pyproject.toml allows; make test-newest: with the newest
# Each makes .venv and installs what it needs. Another interpreter: make PYTHON=python3.12 test

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo play pretrained test test-fast coverage lint docs docs-serve package try-package test-oldest test-newest

# Fewer clips and videos than genie.evaluate takes by itself, which is for worlds that are to be compared.
# 1,000 frames under random actions beside the real game's, too; the parts of light simulators are left out.
PARTS = "parts=[tokenizer,objects,lam,tokens,rollout,uncertainty,fvd,action_grid,attention,long_rollout]"

# Of the world that comes with the package.
SHIPPED = "parts=[tokenizer,objects,lam,tokens,rollout,long_rollout]" horizon=24 num_clips=128 "long_rollout.fvd=[]"

RALLY = rollout_objects.ball.rally.generated
CARD = "figures=[tokenizer.psnr,tokenizer.psnr_copy_last,lam.action_nmi,lam.action_accuracy,tokens.object_token_accuracy,$\
rollout.psnr_first,rollout.psnr_last,rollout.psnr_copy_last_last,delta_psnr.t4,$(RALLY).present,$(RALLY).in_place,$\
$(RALLY).doubled,rollout_objects.player.rally.generated.in_place,rollout_objects.player.obedience.correlation,$\
long_rollout.ball.generated.present,long_rollout.ball.game.present]"

demo: .venv/installed
	$(BIN)/python -m genie.pipeline experiment=demo \
		'evaluate=["num_clips=32","fvd.videos=32","fvd.baselines=[copy_last]","long_rollout.fvd=[]",$(PARTS)]'

play: .venv/installed
	$(BIN)/python -m genie.play run=pretrained/pong

# About 90 minutes on one core. The files are measured as they are, rounded and on the episodes beside them.
pretrained: .venv/installed
	$(BIN)/python -m genie.pipeline experiment=pong
	$(BIN)/python -m genie.export run=outputs/pong output=outputs/pong/exported dtype=bf16 data_frames=3000 license=apache-2.0 overwrite=true
	$(BIN)/python -m genie.evaluate run=outputs/pong/exported $(SHIPPED)
	$(BIN)/python -m genie.export run=outputs/pong/exported output=genie/pretrained/pong dtype=bf16 data_frames=3000 \
		license=apache-2.0 overwrite=true $(CARD)

# A process for each core, of one thread: as fast for models this small, and the last bits of a sum depend on the number of
# threads. A file stays in one process, where its tests share what they train; tests/conftest.py has the order of the files.
test: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-fast: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder \
		-m "not (slow or browser or distributed or e2e)"

coverage: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder \
		--cov=genie --cov=data_modules --cov=callbacks --cov=hydra_plugins --cov-report=term:skip-covered

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m docs.tables --check

# Strict: a dead link, a missing anchor or a page without a place in mkdocs.yml fails.
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build
	@echo site/index.html

docs-serve: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve --dev-addr 127.0.0.1:8001

package: .venv/installed
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

# What a user has: the wheel and what it asks for, and nothing of this folder.
try-package: package
	rm -rf build/try && mkdir -p build/try/folder
	$(PYTHON) -m venv build/try/venv
	build/try/venv/bin/python -m pip install --quiet -c constraints.txt dist/*.whl
	cd build/try/folder && export PATH="$(CURDIR)/build/try/venv/bin:$$PATH" && genie --version && genie doctor && \
		genie generate run=pretrained/pong num_frames=8 output=played.mp4 && \
		genie train stage=tokenizer debug=fast && genie completion bash | bash -n
	rm -rf build/try

# uv resolves to the lowest versions of what pyproject.toml names, and takes PyTorch for the CPU; the tests of what
# extras bring are skipped.
BOUNDS = tests/common tests/data_modules tests/models tests/metrics tests/stages tests/runs tests/world tests/planning \
	tests/prompts tests/play_server tests/publishing tests/diagnostics
UV_FLAGS ?= --torch-backend cpu
TEST_TOOLS = pytest pytest-timeout hypothesis httpx setuptools setuptools-scm

test-oldest test-newest: test-%:
	$(PYTHON) -m venv build/$*
	build/$*/bin/python -m pip install --quiet uv
	VIRTUAL_ENV=build/$* build/$*/bin/uv pip install --quiet $(UV_FLAGS) -e . \
		--resolution $(if $(filter oldest,$*),lowest-direct,highest)
	VIRTUAL_ENV=build/$* build/$*/bin/uv pip install --quiet $(TEST_TOOLS)
	OMP_NUM_THREADS=1 build/$*/bin/python -m pytest $(BOUNDS) -m "not (slow or browser or distributed or e2e)"

# LitData without what it asks for: torchvision, which has to fit the build of torch, is for pictures of its own.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,docs]'
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps litdata
	@touch $@
