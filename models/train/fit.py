"""`fit` and `distill`: from pictures, and weights where there are some, to weights with figures beside them."""

from pathlib import Path

import numpy as np
import torch

import checkpoint
import export
import resnet
import teachers
from crops import Crops
from evaluate import evaluate
from loop import Training, averaged
from machine import Machine
from objective import Distillation, Truth
from pictures import BadPictures, Pictures, as_the_device_does, at_most
from schedule import Schedule

NAMES = "classes.txt"  # in a folder of pictures: what its class folders are called
HELD_OUT = 10  # without --val every tenth picture of a class is not trained on
RATE, RATE_TUNING = 0.1, 0.02  # for batches of 64: from scratch, from weights
USUAL_BATCH = 64
HERE = ("out", "cache", "resume", "device", "command", "run")  # what may change when a training goes on


class Sets:
    """Pictures to train on and to validate on, as (pictures, places); the classes' folders and labels."""

    def __init__(self, args):
        self.training = Pictures.open(args.data, args.cache, at_most, args.store)
        resize = args.resize or args.crop
        self.watched = Pictures.open(args.val or args.data, args.cache, as_the_device_does, resize, args.crop)
        self.folders = self.training.classes
        if len(self.folders) < 2:
            raise BadPictures(f"{args.data}: one class only; a folder of pictures for each of at least two is needed")
        if self.watched.classes != self.folders:
            raise BadPictures(f"{args.val}: its class folders are not those of {args.data}")
        self.places, self.watch = np.arange(len(self.training)), np.arange(len(self.watched))
        if not args.val:
            rank = _rank_in_class(self.training.labels)
            self.places, self.watch = (np.flatnonzero(which) for which in (rank % HELD_OUT != 0, rank % HELD_OUT == 0))
        if len(self.places) < args.batch:
            raise BadPictures(f"{args.data}: {len(self.places)} pictures to train on, fewer than one --batch of {args.batch}")
        names = args.names or _names_in(args.data)
        table = read_names(names) if names else {}
        self.labels = [table.get(folder, folder) for folder in self.folders]
        if len(set(self.labels)) < len(self.labels):
            raise BadPictures(f"{names}: two classes have the same label")


def _rank_in_class(labels):
    rank = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        rank[labels == label] = np.arange(np.count_nonzero(labels == label))
    return rank


def _names_in(data):
    file = Path(data) / NAMES
    return file if file.is_file() else None


def read_names(path):
    """Lines of a folder's name, white space, and a label."""
    lines = [line.split(None, 1) for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    wrong = [line for line in lines if len(line) != 2]
    if wrong:
        raise BadPictures(f"{path}: a line is a folder's name, a space and a label, unlike {wrong[0]}")
    return {folder: label.strip() for folder, label in lines}


def start(args, labels):
    """The network to begin with, mean and std of what it reads, its name, and whether it knows these labels already."""
    if not args.weights:
        network = resnet.fresh(args.arch, len(labels), args.width)
        return network, export.preparation({}), "fresh", False
    tensors, texts = resnet.read(args.weights)
    known = export.described(texts).get("labels")
    network = resnet.build(tensors, len(labels), new_head=known not in (None, labels))
    return network, export.preparation(texts), Path(args.weights).name, known == labels


def objective(args, network, prepared, settled, machine):
    truth = Truth(prepared["mean"], prepared["std"], args.smoothing)
    if args.command != "distill":
        return truth
    teacher = teachers.load(args.teacher, args.teacher_size, machine)
    outputs = args.teacher_outputs and [int(part) for part in args.teacher_outputs.split(",")]
    if outputs and (len(outputs) != network.plan.classes or not all(0 <= o < teacher.classes for o in outputs)):
        raise checkpoint.BadRun(f"--teacher-outputs: {network.plan.classes} places below {teacher.classes} are needed")
    return Distillation(
        truth, teacher, network, kl=args.kl, features=args.features, temperature=args.temperature,
        outputs=outputs, settled=settled,
    )


def schedule(args, steps_to_an_epoch):
    peak = (args.lr or (RATE_TUNING if args.weights else RATE)) * args.batch / USUAL_BATCH
    if args.minutes:
        return Schedule(args.sizes, peak, seconds=60 * args.minutes)
    return Schedule(args.sizes, peak, steps=args.epochs * steps_to_an_epoch)


def run(args):
    settings = {key: value if isinstance(value, (int, float)) else str(value) for key, value in vars(args).items() if key not in HERE}
    machine, sets = Machine(args.device, args.precision), Sets(args)
    settings["pictures"] = sets.training.key
    state = checkpoint.begin(args.out, args.resume, settings)
    torch.manual_seed(args.seed)
    network, prepared, begun, settled = start(args, sets.labels)
    network.freeze(args.freeze.split(",") if args.freeze else [])
    about = {
        "arch": network.plan.name, "labels": sets.labels, "folders": sets.folders,
        "resize": args.resize or args.crop, "crop": args.crop, **prepared,
    }
    crops = Crops(sets.training, sets.places, args.batch, args.seed)
    training = Training(
        network, objective(args, network, prepared, settled, machine), crops, schedule(args, crops.steps), machine, about,
        folder=args.out, settings=settings, decay=args.decay,
    )
    if state:
        training.load(state)
    parameters = sum(p.numel() for p in network.parameters())
    print(
        f"{about['arch']} from {begun}, {parameters / 1e6:.1f} M parameters, {len(sets.labels)} classes; "
        f"{len(sets.places)} pictures to train on, {len(sets.watch)} to validate; {machine}"
        + (f"; goes on at step {training.step}" if state else "")
    )
    if not training.run(watch=(sets.watched, sets.watch)):
        print(f"stopped at step {training.step}; the same command with --resume goes on")
        return 130
    finish(args, training, sets, machine, begun)
    return 0


def finish(args, training, sets, machine, begun):
    """The average of weights and its figures. Validation pictures chose nothing: not when to stop, not which weights."""
    network = averaged(training.network, training.average)
    found = evaluate(network, sets.watched, sets.watch, training.about, machine, "validating", exact=True)
    steps = training.crops.steps
    figures = {
        "top1_val_float": round(found["top1"], 4), "top5_val_float": round(found["top5"], 4), "val_images": found["images"],
        "trained_on": f"{len(sets.places)} pictures of {sets.training.name}", "validated_on": sets.watched.name,
        "skipped": sets.training.skipped, "from": begun, "steps": training.step, "epochs": round(training.step / steps, 2),
        "seconds": round(training.before), "on": str(machine), "torch": torch.__version__,
        "settings": training.settings, "after_each_epoch": training.watch,
    }
    file = Path(args.out) / "weights.safetensors"
    export.write(file, network.state_dict(), training.about, figures)
    print(f"{file}: top-1 {found['top1']:.2%}, top-5 {found['top5']:.2%} of {found['images']} validation pictures")
