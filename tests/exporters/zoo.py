"""Photos, networks of random weights whose answers differ from photo to photo, and what is due for a file.

Used by every make_*.py; knows no exporter. A file NAME lies as its exporter writes it in FILES/NAME/, beside it
NAME.npy is what the graph takes for PHOTOS, and NAME.json says who made it and what its output is, or why it was not made.
"""

import json
import os
import shutil
import sys
import time
import traceback
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
warnings.filterwarnings("ignore")

import numpy as np
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[2]
FILES = Path(os.environ.get("EXPORTERS", ROOT / "target/exporters")) / "files"
PHOTOS = sorted((ROOT / "tests/fixtures/photos").glob("*.png"))
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def opened():
    return [Image.open(photo).convert("RGB") for photo in PHOTOS]


def cropped(image, side, resize=None, filter=Image.Resampling.BILINEAR):
    """torchvision's Resize and CenterCrop."""
    resize = resize or round(side * 256 / 224)
    width, height = image.size
    short = min(width, height)
    image = image.resize((int(resize * width / short), int(resize * height / short)), filter)
    left, top = (round((size - side) / 2) for size in image.size)
    return image.crop((left, top, left + side, top + side))


def standard(image, side=224):
    """The input [3, side, side] of networks of which nothing is said."""
    pixels = np.asarray(cropped(image, side), np.float32) / 255
    return ((pixels - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1)


def due(preprocess=standard):
    return np.stack([np.asarray(preprocess(image)) for image in opened()])


def varied(preprocess=standard):
    """Three views of each photo, for statistics."""
    views = [lambda i: i, ImageOps.mirror, lambda i: i.crop((0, 0, *(3 * s // 4 for s in i.size)))]
    return np.stack([np.asarray(preprocess(view(image))) for image in opened() for view in views])


# What stands in NAME.json while its exporter runs, so what is left there by one that crashed.
CRASHED = "its exporter crashed"


def keep(name, exporter, make, images, kind="logits", **about):
    """Has `make` write a file into a directory, unless it is there; a failure is written down and costs no other file.

    `kind` is what the output is: "logits", "probabilities" or "scores". `about` may say which `output` is due, whether
    the file is `rounded` (16 or 8 bits), and as what (`served`) it is named to resnet, if not as its directory.
    """
    if not wanted(name):
        return
    directory = FILES / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    begin = time.time()
    about |= {"exporter": exporter, "kind": kind}
    say(name, about | {"not_made": CRASHED})
    try:
        make(directory)
        np.save(FILES / f"{name}.npy", images() if callable(images) else images)
    except Exception as error:
        about["not_made"] = reason(name, error)
    say(name, about)
    print(f"{name}: {about.get('not_made', 'made')} ({time.time() - begin:.0f} s)", flush=True)


def not_made(names, exporter, error):
    """Writes down why there are no such files, where not even the network could be had."""
    for name in names:
        if wanted(name):
            say(name, {"exporter": exporter, "not_made": reason(name, error)})
            print(f"{name}: {error}", flush=True)


def reason(name, error):
    (FILES / f"{name}.log").write_text("".join(traceback.format_exception(error)))
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


def say(name, about):
    FILES.mkdir(parents=True, exist_ok=True)
    (FILES / f"{name}.json").write_text(json.dumps(about))


def wanted(*names):
    """Whether any of these files is still to be made; what failed is tried again, what crashed its exporter is not."""
    words = sys.argv[1:]
    return any(not tried(name) and (not words or any(word in name for word in words)) for name in names)


def tried(name):
    said = FILES / f"{name}.json"
    return said.exists() and json.loads(said.read_text()).get("not_made", CRASHED) == CRASHED
