#!/usr/bin/env python3
"""A picture becomes the JSON of the first server: ``prepare_input.py IMAGE [LABEL] OUT.json``.

With a label, for the classifiers: ``{"img_data": (H, W, 3) RGB, "target_class": LABEL}``. Without one, for instance
masks: ``{"img_data": (3, H, W) BGR}``. ``curl -T IMAGE`` says the same in a tenth of the bytes; this is for programs
that were written for the old servers.
"""

from __future__ import annotations

import argparse
import json
import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "handler"))

try:
    from intgrads.archives.names import LABELS
    from intgrads.errors import RequestError
    from intgrads.labels import CIFAR10, Labels
    from intgrads.pictures.decoding import decode_picture
    from intgrads.settings import Settings
except ImportError as error:
    sys.exit(f"prepare_input.py: {error}; run it with the environment's Python: .venv/bin/python prepare_input.py …")

ARCHIVE = Path(__file__).parent / "model_store" / "intgrads.mar"


def archive_labels(archive: Path) -> Labels | None:
    """Return the labels of an archive, None where it was not built."""
    if not archive.is_file():
        return None
    with zipfile.ZipFile(archive) as content:
        return Labels(json.loads(content.read(LABELS)))


def check_label(label: str, archive: Path) -> None:
    """Refuse a label that neither the archive nor the old servers' networks know.

    Raises
    ------
    RequestError
        If it is unknown; the message lists the ones that are meant.
    """
    known = archive_labels(archive)
    if known is not None and (known.find(label) or not Labels(CIFAR10).find(label)):
        known.resolve(label, "LABEL")
        return
    Labels(CIFAR10).resolve(label, "LABEL")
    if known is not None:
        print(
            f"prepare_input.py: note: {label!r} is a label of CIFAR-10's networks; {archive.name} does not know it",
            file=sys.stderr,
        )


def main() -> int:
    """Run the command and return its exit status."""
    parse = argparse.ArgumentParser(
        prog="prepare_input.py", description="Write a picture as the JSON that the server takes."
    )
    parse.add_argument("image", metavar="IMAGE", type=Path, help="a JPEG, PNG, WebP or BMP")
    parse.add_argument("label", metavar="LABEL", nargs="?", help="class to attribute; left out for masks")
    parse.add_argument("out", metavar="OUT.json", type=Path)
    parse.add_argument("--archive", metavar="FILE", type=Path, default=ARCHIVE, help="whose labels to check against")
    given = parse.parse_args()
    try:
        picture = decode_picture(given.image.read_bytes(), "IMAGE", Settings().max_picture_pixels)
        if given.label is None:
            content = {"img_data": picture.pixels[..., ::-1].transpose(2, 0, 1).tolist()}
        else:
            check_label(given.label, given.archive)
            content = {"img_data": picture.pixels.tolist(), "target_class": given.label}
        given.out.write_text(json.dumps(content, separators=(",", ":")))
    except RequestError as error:
        print(f"prepare_input.py: {error.field}: {error.message}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"prepare_input.py: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    for note in picture.notes:
        print(f"prepare_input.py: note: {note}", file=sys.stderr)
    height, width = picture.size
    print(f"{given.out}: {width} × {height}, {given.out.stat().st_size / 2**20:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
