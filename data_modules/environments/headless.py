"""How MuJoCo's pictures are drawn on a machine without a display: by EGL, else by OSMesa.

`MUJOCO_GL` decides where it is set. Whether one of them works is only known after it was tried, and a process can try
one: so another process tries.
"""

import functools
import os
import subprocess
import sys

WITHOUT_DISPLAY = ("egl", "osmesa")  # the faster one first; both draw with the processor where there is no GPU
TRIAL = "import mujoco; mujoco.GLContext(16, 16).make_current()"
ADVICE = "apt-get install libegl1 libgl1 (EGL) or libosmesa6 (OSMesa), or set another MUJOCO_GL"


def is_headless() -> bool:
    """Whether there is no display to draw to."""
    return sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@functools.cache
def find_opengl() -> str | None:
    """What draws, by MuJoCo's name, set as `MUJOCO_GL` for those who ask later; None where nothing does."""
    chosen = os.environ.get("MUJOCO_GL")
    if chosen is None and not is_headless():
        return "glfw"
    for name in WITHOUT_DISPLAY if chosen is None else (chosen,):
        environment = os.environ | {"MUJOCO_GL": name}
        if subprocess.run([sys.executable, "-c", TRIAL], env=environment, capture_output=True).returncode == 0:
            os.environ["MUJOCO_GL"] = name
            return name
    return None
