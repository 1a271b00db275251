"""TensorMask's arithmetic: what is evaluated at few places is what is evaluated everywhere, and gradients are right."""

import pytest
import torch
from intgrads.detections.tensormask import ClassLogits, Detections, MaskLogit, Place, TensorMaskHead, paste
from shared.detections import overlap, published_detections, small_tensormask, spread_out

SIZES = [(48, 64), (50, 37), (16, 16)]


def picture(size: tuple[int, int], batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def found(size: tuple[int, int], **options: bool) -> tuple[Detections, list[torch.Tensor], dict[str, torch.Tensor]]:
    network = small_tensormask(**options)
    x = picture(size)
    spread_out(network, x)
    features = network.features(x)
    detections = network.detect(features, 0.05).scaled(size, (60, 90))
    reference = published_detections(network, x[0].flip(0), (60, 90))
    return detections, network.masks(features, detections), reference


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("aligned", "bipyramid"), [(True, True), (True, False), (False, False)])
def test_the_detections_are_those_of_the_published_order_of_operations(
    size: tuple[int, int], aligned: bool, bipyramid: bool
) -> None:
    pytest.importorskip("detectron2")
    detections, masks, reference = found(size, aligned=aligned, bipyramid=bipyramid)
    assert len(detections) == len(reference["scores"]) > 5
    assert detections.classes.tolist() == reference["pred_classes"].tolist()
    torch.testing.assert_close(detections.scores, reference["scores"])
    # detectron2 decodes boxes in float32.
    torch.testing.assert_close(detections.boxes.float(), reference["pred_boxes"].float(), rtol=1e-4, atol=1e-3)
    pasted = paste(masks, detections.windows, (60, 90))
    assert pasted.any()
    assert overlap(pasted, reference["pred_masks"]).min() >= 0.98
    assert (pasted == reference["pred_masks"]).float().mean() > 0.9999


@pytest.mark.parametrize("size", SIZES)
def test_the_logits_of_one_place_are_those_of_the_whole_map(size: tuple[int, int]) -> None:
    network = small_tensormask()
    for level, feature in enumerate(network.features(picture(size, batch=2))):
        whole = network.head.classes(feature)
        height, width = whole.shape[2:]
        for row in {0, height // 2, height - 1}:
            for column in {0, width // 2, width - 1}:
                place = network.head.classes_at(feature, row, column)
                torch.testing.assert_close(place, whole[:, :, row, column], msg=f"{level} {row} {column}")


def test_what_is_attributed_is_the_logit_that_was_found() -> None:
    network = small_tensormask()
    x = picture((48, 64), batch=2)
    features = network.features(x[:1])
    detections = network.detect(features, 0.3)
    assert len(set(detections.levels.tolist())) > 1
    for k in range(len(detections)):
        logits = ClassLogits(network, detections.place(k))(x)
        assert logits.shape == (2, 3)
        score = logits[0, detections.classes[k]].sigmoid()
        torch.testing.assert_close(score, detections.scores[k])


def test_what_is_attributed_of_a_mask_is_its_mean_logit_where_it_is() -> None:
    network = small_tensormask()
    x = picture((48, 64), batch=2)
    features = network.features(x[:1])
    detections = network.detect(features, 0.3)
    masks = network.masks(features, detections)
    for k, logits in enumerate(masks):
        mean = MaskLogit(network, detections.place(k), logits > 0)(x)
        assert mean.shape == (2, 1)
        torch.testing.assert_close(mean[0, 0], logits[logits > 0].mean())


@pytest.mark.parametrize("level", [0, 1, 2])
def test_gradients_are_those_of_finite_differences(level: int) -> None:
    network = small_tensormask()
    x = picture((20, 24)).requires_grad_()
    place = Place(level, 1, 0, 1)
    region = torch.zeros(7 * 2**level, 7 * 2**level, dtype=torch.bool)
    region[2:5] = True
    for forward in (ClassLogits(network, place), MaskLogit(network, place, region)):
        assert torch.autograd.gradcheck(forward, (x,), fast_mode=True)


def test_only_the_level_concerned_is_computed() -> None:
    network = small_tensormask()
    computed = []
    for tower in (network.head.cls_subnet, network.head.bbox_subnet, network.head.mask_subnet):
        tower.register_forward_hook(lambda tower, x, y: computed.append((tower, x[0].shape)))  # noqa: ARG005
    ClassLogits(network, Place(1, 0, 2, 2))(picture((48, 64)))
    assert [tower for tower, _ in computed] == [network.head.cls_subnet]
    assert computed[0][1][2:] == (6, 6)  # around the place, of 6 × 8
    computed.clear()
    MaskLogit(network, Place(0, 0, 2, 2), torch.ones(5, 5, dtype=torch.bool))(picture((48, 64)))
    assert [tower for tower, _ in computed] == [network.head.mask_subnet]


def test_masks_are_evaluated_only_where_a_detection_survived() -> None:
    network = small_tensormask()
    features = network.features(picture((48, 64)))
    detections = network.detect(features, 0.05)
    assert len(set(detections.levels.tolist())) > 1
    lonely = detections[:1]
    predicted = []
    for size in (5, 7):
        layer = network.head.get_submodule(f"mask_pred_{size:02}")
        layer.register_forward_hook(lambda layer, x, y: predicted.append(layer))  # noqa: ARG005
    (mask,) = network.masks(features, lonely)
    assert len(predicted) == 1
    assert mask.shape[0] in (5, 7, 10, 14, 20, 28)
    predicted.clear()
    assert network.masks(features, detections[:0]) == []
    assert predicted == []


def test_nothing_found_is_an_empty_list_of_whole_masks() -> None:
    network = small_tensormask()
    features = network.features(picture((48, 64)))
    none = network.detect(features, 0.999999).scaled((48, 64), (30, 40))
    assert len(none) == 0
    assert none.boxes.shape == (0, 4)
    assert paste(network.masks(features, none), none.windows, (30, 40)).shape == (0, 30, 40)


def test_candidates_and_detections_are_limited_to_the_likeliest() -> None:
    few = small_tensormask(candidates=7, most_detections=3)
    features = few.features(picture((48, 64)))
    everything = small_tensormask(candidates=10**6, nms_threshold=1.0, most_detections=10**6).detect(features, 0.0)
    assert len(everything) == 2 * 3 * (12 * 16 + 6 * 8 + 3 * 4)
    detections = few.detect(features, 0.0)
    assert 0 < len(detections) <= 3
    likeliest = small_tensormask(candidates=7, nms_threshold=1.0, most_detections=10**6).detect(features, 0.0)
    assert likeliest.scores.tolist() == everything.scores[:7].tolist()
    three = small_tensormask(candidates=7, nms_threshold=1.0, most_detections=3).detect(features, 0.0)
    assert three.scores.tolist() == everything.scores[:3].tolist()
    assert set(detections.scores.tolist()) <= set(everything.scores[:7].tolist())
    assert detections.scores.tolist() == sorted(detections.scores.tolist(), reverse=True)


def test_a_box_outside_the_picture_is_left_out_and_one_across_its_border_clipped() -> None:
    zeros = torch.zeros(3, dtype=torch.long)
    boxes = torch.tensor([[-5.0, 2, 5, 8], [11, 0, 15, 5], [3, 3, 20, 20]])
    detections = Detections(boxes, torch.ones(3), zeros, boxes, zeros, zeros, torch.arange(3), zeros)
    scaled = detections.scaled((10, 10), (20, 30))
    assert scaled.rows.tolist() == [0, 2]
    assert scaled.boxes.tolist() == [[0, 4, 15, 16], [9, 6, 30, 20]]
    assert scaled.windows.tolist() == [[-15, 4, 15, 16], [9, 6, 60, 40]]


def test_a_mask_is_laid_into_its_window() -> None:
    left = torch.tensor([[9.0, -9.0], [9.0, -9.0]])
    pasted = paste([left, left, left], torch.tensor([[2.0, 1, 6, 5], [-4, 0, 4, 8], [50, 50, 60, 60]]), (8, 10))
    assert pasted[0].nonzero().tolist() == [[y, x] for y in range(1, 5) for x in (2, 3)]
    assert not pasted[1].any()  # its left half is outside
    assert not pasted[2].any()


def test_a_bipyramid_needs_the_aligned_representation() -> None:
    with pytest.raises(ValueError, match="ALIGNED_ON"):
        TensorMaskHead(6, 3, [5], aligned=False, bipyramid=True)
