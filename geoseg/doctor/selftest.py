"""One backend on a small drawn scene; run as a program of its own: ``python -m geoseg.doctor.selftest BACKEND DEVICE FOLDER``."""

import json
import sys
import time
from pathlib import Path

_SIDE_PX = 256
_SEED = 3
_THREADS = 1


def try_backend(backend: str, device: str, folder: Path) -> dict[str, float]:
    """Infer a drawn scene with the shipped model.

    Args:
        backend: ``onnx`` or ``torch``.
        device: ``cpu`` or ``cuda``.
        folder: Takes the labels, ``BACKEND-DEVICE.npy``.

    Returns:
        ``right``, the share of labels that are those of the drawing; seconds to load and seconds of the processor to infer.
    """
    import numpy as np

    from geoseg.inference.whole import network_loader
    from geoseg.model.execution import Backend, Execution
    from geoseg.model.package import find_package
    from geoseg.scene import SceneOptions, draw_scene

    scene = draw_scene(SceneOptions(height_px=_SIDE_PX, width_px=_SIDE_PX, seed=_SEED))
    chosen: Backend = "onnx" if backend == "onnx" else "torch"
    began = time.perf_counter()
    predictor = network_loader(find_package("aerial"), Execution(backend=chosen, device=device, threads=_THREADS))()
    load_s, began = time.perf_counter() - began, time.process_time()
    labels = predictor.predict(scene.pixels[None], scene.valid[None])[0, 0]
    np.save(folder / f"{backend}-{device}.npy", labels)
    right = float((labels == scene.classes)[scene.valid].mean())
    return {"right": right, "load_s": load_s, "seconds": time.process_time() - began}


def main() -> None:
    """Write what came of it as the last line, as JSON."""
    sys.stdout.write(json.dumps(try_backend(sys.argv[1], sys.argv[2], Path(sys.argv[3]))) + "\n")


if __name__ == "__main__":
    main()
