"""GeoDeep: ``segment`` with an ONNX network; tile size and overlap are the network's metadata, and there is no batch."""

from asked import read_request, write_labels
from geodeep import segment

ONNX, ONNX_DEFAULTS = "network.onnx", "network_defaults.onnx"

if __name__ == "__main__":
    asked = read_request()
    name = ONNX_DEFAULTS if asked.tile is None else ONNX
    write_labels(asked, segment(asked.raster, str(asked.handout / name), output_type="raw", max_threads=asked.threads))
