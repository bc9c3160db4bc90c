#!/usr/bin/env bash
# Trains on several processes of this machine: CONFIG PROCESSES [OPTION ...]
set -euo pipefail
"${PYTHON:-python}" -m torch.distributed.run --standalone --nproc_per_node="$2" \
    "$(dirname "$0")/train.py" "$1" --launcher pytorch "${@:3}"
