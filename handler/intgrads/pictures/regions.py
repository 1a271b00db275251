"""Regions of a picture at all scales: a nested tree of superpixels, merged from the bottom up.

XRAI (Kapishnikov et al., ICCV 2019, arXiv 1906.02825) cuts a picture at several scales by Felzenszwalb and
Huttenlocher's graphs (IJCV 2004), and its regions overlap. Here the cuts become one tree: a border is as strong as the
number of scales that draw it (as in the contour maps of Arbeláez et al., IEEE TPAMI 2011), and the two neighbours with
the weakest border between them are merged first, small ones sooner. The segmentations and the graph are scikit-image's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2gray
from skimage.filters import sobel
from skimage.graph import merge_hierarchical, rag_boundary
from skimage.segmentation import felzenszwalb, find_boundaries

SCALES = (50, 100, 150, 250, 500, 1200)
"""XRAI's: the larger, the larger the segments."""

SIGMA = 0.8
"""XRAI's width of the smoothing before, in pixels."""

LEAST_PART = 150 / 224**2
"""XRAI's smallest segment, as a part of the picture."""

MOST_LEAVES = 250

SMALL = 0.25
"""A border counts times this power of the smaller neighbour's area: slivers along an edge have strong borders on both
sides, and would be among the last."""


@dataclass(frozen=True)
class RegionTree:
    """Regions of a picture, leaves first, each merge after what it was made of.

    Attributes
    ----------
    masks : ndarray, (R, H, W), bool
    parents : list of int
        The region that each is a part of; R for the whole picture, which is not among them.
    leaves : int
        How many have no parts.
    """

    masks: NDArray[np.bool_]
    parents: list[int]
    leaves: int


def region_tree(pixels: NDArray[np.uint8]) -> RegionTree:
    """Cut a picture into regions at all scales.

    Parameters
    ----------
    pixels : ndarray, (H, W, 3), uint8
    """
    image = pixels / 127.5 - 1  # the range that XRAI's scales are for
    least = max(4, round(LEAST_PART * image.shape[0] * image.shape[1]))
    finest = felzenszwalb(image, scale=SCALES[0], sigma=SIGMA, min_size=least)
    while finest.max() >= MOST_LEAVES:
        least *= 2
        finest = felzenszwalb(image, scale=SCALES[0], sigma=SIGMA, min_size=least)
    leaves = int(finest.max()) + 1
    if leaves == 1:
        return RegionTree((finest == 0)[None], [1], 1)
    coarser = [felzenszwalb(image, scale=scale, sigma=SIGMA, min_size=least) for scale in SCALES[1:]]
    borders = np.mean([find_boundaries(cut) for cut in (finest, *coarser)], axis=0)
    # The picture's own edges decide between borders of as many scales.
    strength = borders + sobel(rgb2gray(pixels)) / len(SCALES)
    graph = rag_boundary(finest, strength)
    for leaf, area in enumerate(np.bincount(finest.ravel()).tolist()):
        graph.nodes[leaf]["area"] = area
    return _merged(finest, graph, leaves)


def _merged(finest: NDArray[np.int64], graph: Any, leaves: int) -> RegionTree:
    """Merge neighbours, those with the weakest border first, until all is one."""
    regions = [frozenset([leaf]) for leaf in range(leaves)]
    parents: dict[frozenset[int], int] = {}
    for one, other, border in graph.edges(data=True):
        border["strength"] = border["weight"]
        border["weight"] = _weight(graph, border["strength"], one, other)

    def merge(graph: Any, source: int, target: int) -> None:
        # The merge keeps the number of one of its parts; what it is made of tells it.
        parts = [frozenset(graph.nodes[node]["labels"]) for node in (source, target)]
        parents.update(dict.fromkeys(parts, len(regions)))
        regions.append(parts[0] | parts[1])
        graph.nodes[target]["area"] += graph.nodes[source]["area"]

    merge_hierarchical(
        finest, graph, thresh=np.inf, rag_copy=False, in_place_merge=True, merge_func=merge, weight_func=_border
    )
    regions = regions[:-1]  # the last merge is the whole picture
    of_leaves = np.zeros((len(regions), leaves), bool)
    for number, region in enumerate(regions):
        of_leaves[number, list(region)] = True
    return RegionTree(of_leaves[:, finest], [parents[region] for region in regions], leaves)


def _border(graph: Any, source: int, target: int, neighbour: int) -> dict[str, float]:
    """Return the border between a merge of two regions and a neighbour: the mean of both, by their lengths."""
    parts = [graph[region][neighbour] for region in (source, target) if graph.has_edge(region, neighbour)]
    length = sum(part["count"] for part in parts)
    strength = sum(part["count"] * part["strength"] for part in parts) / length
    return {"count": length, "strength": strength, "weight": _weight(graph, strength, target, neighbour)}


def _weight(graph: Any, strength: float, one: int, other: int) -> float:
    return float(strength * min(graph.nodes[one]["area"], graph.nodes[other]["area"]) ** SMALL)
