#!/usr/bin/env bash
# Tests on several processes of this machine: CONFIG CHECKPOINT PROCESSES [OPTION ...]
set -euo pipefail
"${PYTHON:-python}" -m torch.distributed.run --standalone --nproc_per_node="$3" \
    "$(dirname "$0")/test.py" "$1" "$2" --launcher pytorch "${@:4}"
