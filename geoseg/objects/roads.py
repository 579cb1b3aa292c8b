"""Connected road centerlines from the stitched road probability."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.objects.network.bridges import GapOptions
from geoseg.objects.network.chains import clean_chains
from geoseg.objects.network.gaps import close_gaps
from geoseg.objects.network.parallels import merge_parallels
from geoseg.objects.network.skeleton import Thinning, collect_skeleton, connect, link_pixels
from geoseg.objects.network.smooth import smooth_tracks
from geoseg.objects.network.tracks import Tracks, draw_lines, draw_tracks, drop_short, join_runs, node_crossings, put_in_order
from geoseg.objects.network.ways import WayOptions, follow_ways
from geoseg.objects.options import RoadOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadNetwork:
    """Roads as a graph, in pixel coordinates: x = column, y = row, pixel centers at +0.5.

    Nodes are numbered from top to bottom and from left to right, edges are sorted by their nodes: ids are reproducible. Two edges
    may join the same nodes, and an edge may return to its node; ``from_node <= to_node``.
    """

    node_xy: NDArray[np.float64]
    """(n, 2) positions."""
    from_node: NDArray[np.int64]
    """(m,) node at which each line starts."""
    to_node: NDArray[np.int64]
    """(m,) node at which each line ends."""
    lines: NDArray[np.object_]
    """(m,) shapely LineStrings; they start and end exactly at their nodes."""
    width_m: NDArray[np.float64]
    """(m,) mean width on the ground where the road was seen, at most ``max_width_m`` on one track."""
    score: NDArray[np.float64]
    """(m,) mean probability along the line, 0..1."""
    bridged_m: NDArray[np.float64]
    """(m,) length of the closed gaps in the line: road that was not seen."""

    @property
    def degree(self) -> NDArray[np.int64]:
        """(n,) number of line ends at each node; 1 is a dead end."""
        return np.bincount(np.concatenate([self.from_node, self.to_node]), minlength=len(self.node_xy))

    @property
    def component(self) -> NDArray[np.int64]:
        """(n,) number of the connected part that a node belongs to, from 0."""
        return connect(self.from_node, self.to_node, len(self.node_xy))


def extract_roads(
    read: Callable[[Window], NDArray[np.uint8]],
    shape: tuple[int, int],
    blocks: Iterable[Window],
    pixel_m: tuple[float, float],
    options: RoadOptions,
) -> RoadNetwork:
    """Turn road probability into a network of centerlines that does not depend on the blocks (law 7).

    The raster is thinned block by block with a margin that makes the skeleton exact; everything after sees only the skeleton.
    Memory holds one block with its margin and about 250 bytes per skeleton pixel. Lines end where the road ends: a dead end is
    prolonged by the half width that thinning took from it.

    Args:
        read: Returns the road probability of any window inside the raster, uint8 (H, W), 0..255 = 0..1, 0 where there is no data.
        shape: Rows and columns of the raster.
        blocks: Windows that partition the raster, in any order.
        pixel_m: Width and height of a pixel in metres on the ground.
        options: What counts as a road.

    Returns:
        The network, empty where there is no road.
    """
    thinning = Thinning(
        cut=max(1, math.ceil(options.threshold * 255 - 1e-9)),
        # Diagonal roads lose only 1/sqrt(2) pixel per side and iteration.
        iterations=math.ceil(math.sqrt(2) * options.max_width_m / 2 / min(pixel_m)) + 1,
        hole_px=(int(options.min_hole_m / pixel_m[1]), int(options.min_hole_m / pixel_m[0])),
        max_width_m=options.max_width_m,
        pixel_m=pixel_m,
    )
    skeleton = collect_skeleton(read, shape, blocks, thinning)
    graph, chains = clean_chains(skeleton, link_pixels(skeleton, pixel_m), options.min_length_m)
    step_m = math.hypot(*pixel_m)
    tracks = join_runs(node_crossings(draw_tracks(skeleton, graph, chains, shape, pixel_m)))
    tracks = merge_parallels(tracks, options.parallel_m, step_m)
    gaps = GapOptions(
        max_gap_m=options.max_gap_m, max_turn_deg=options.max_turn_deg, min_score=options.min_gap_score, stub_m=options.min_length_m
    )
    ways = WayOptions(max_way_m=options.max_way_m, min_score=options.min_way_score, threshold=options.threshold)
    tracks = close_gaps(tracks, read, shape, pixel_m, gaps)
    # A piece of noise is no step on a way.
    tracks = drop_short(tracks, options.min_length_m, options.min_length_m)
    tracks = drop_short(follow_ways(tracks, read, shape, pixel_m, ways), options.min_length_m, options.min_part_m)
    tracks = merge_parallels(tracks, options.parallel_m, step_m)
    # Finer than a pixel, a tolerance would keep the staircase of a straight road, which is longer than the road.
    smooth_m, simplify_m = (max(t, step_m / 2) if t > 0 else 0.0 for t in (options.smooth_m, options.simplify_m))
    return _present(put_in_order(smooth_tracks(tracks, smooth_m, simplify_m, step_m)), pixel_m)


def _present(tracks: Tracks, pixel_m: tuple[float, float]) -> RoadNetwork:
    node_xy, xy = tracks.node_xy / pixel_m, tracks.xy / pixel_m
    xy[tracks.starts[:-1]], xy[tracks.starts[1:] - 1] = node_xy[tracks.from_node], node_xy[tracks.to_node]
    return RoadNetwork(
        node_xy=node_xy,
        from_node=tracks.from_node,
        to_node=tracks.to_node,
        lines=draw_lines(xy, tracks.starts),
        width_m=tracks.width_m,
        score=tracks.score,
        # Smoothing takes stairs out of ways too.
        bridged_m=np.minimum(tracks.bridged_m, tracks.length_m),
    )
