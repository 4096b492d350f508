#!/usr/bin/env bash
# Sees to the system libraries that rendering needs: OSMesa, or Mesa's EGL, and what OpenCV links to. `both` asks for
# OSMesa and EGL, as the tests do, which compare them.
set -euo pipefail

have() { ldconfig -p | grep -q "$1"; }

missing=()
if [ "${1:-}" = both ]; then
    have libOSMesa.so || missing+=(libosmesa6)
    have libEGL_mesa.so || missing+=(libegl1 libegl-mesa0)
else
    have libOSMesa.so || have libEGL_mesa.so || missing+=(libosmesa6)
fi
have libGL.so.1 || missing+=(libgl1)
have libgthread-2.0.so.0 || missing+=(libglib2.0-0)
[ ${#missing[@]} -eq 0 ] && exit 0

command=(apt-get install -y --no-install-recommends "${missing[@]}")
if ! command -v apt-get >/dev/null; then
    echo "setup: rendering needs OSMesa or Mesa's EGL; install your system's packages for ${missing[*]}" >&2
    exit 2
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2>/dev/null; then
        echo "setup: rendering needs system libraries; type: sudo ${command[*]}" >&2
        exit 2
    fi
    as_root=(sudo -n)
fi
echo "setup: installing ${missing[*]}" >&2
"${as_root[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" "${command[@]}" -qq >/dev/null
