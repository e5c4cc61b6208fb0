#!/usr/bin/env python3
"""Trains ResNets for resnetd: from pictures to weights that `resnetd-model import` reads. README.md says more."""

import argparse
import os
import sys

import checkpoint
import export
import fit
import grow
import pictures
import resnet
import schedule
import shapes

EXAMPLES = {
    "fit": """
  train.py fit photographs/ --out runs/mine --minutes 60
  train.py fit photographs/ --from resnet50-11ad3fa6.pth --epochs 10 --out runs/tuned
  train.py fit train.tar --val val.tar --arch resnet50 --epochs 40 --sizes 96:0.4,128:0.3,160:0.2,192:0.1 --out runs/r50
  train.py fit train.tar --val val.tar --arch resnet50 --epochs 40 --out runs/r50 --resume

DATA is a folder of class folders or a tar archive of one. OUT then holds weights.safetensors, weights.json (how it went)
and the checkpoint from which --resume goes on: with the very same steps, or, with --minutes, the time that is left.""",
    "distill": """
  train.py distill train.tar --teacher resnet101.safetensors --from pruned.safetensors --epochs 15 --out runs/small
  train.py distill train.tar --teacher efficientnet-lite0 --teacher-size 224 --features 2 \\
      --teacher-outputs 0,217,482,491,497,566,569,571,574,701 --names models/train/imagenette.txt --minutes 90 --out runs/r50

The teacher sees the same crops. If its classes are others, the student learns them with a second head that is thrown away.""",
    "grow": """
  train.py grow resnet50.safetensors --to resnet101 -o grown.safetensors
  train.py fit train.tar --from grown.safetensors --epochs 10 --out runs/r101

Its last line names the blocks that were there before: what --freeze takes, to train the new ones alone.""",
    "export": """
  train.py export runs/mine -o mine.safetensors
  train.py export resnet50.pth --labels labels.txt --resize 232 --crop 224 -o resnet50.safetensors
  resnetd-model import mine.safetensors -o mine-float.nnef.tar""",
    "shapes": """
  train.py shapes target/shapes --pictures 200 --seed 1""",
}


def positive(text):
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def count(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def sizes(text):
    try:
        return schedule.sizes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def triple(text):
    values = [float(part) for part in text.split(",")]
    if len(values) != 3:
        raise argparse.ArgumentTypeError("three numbers are needed, as in 0.485,0.456,0.406")
    return values


def training(command):
    """What `fit` and `distill` have in common."""
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "resnetd-train")
    command.add_argument("data", metavar="DATA", help="pictures to train on")
    command.add_argument("--val", metavar="DATA", help="pictures to validate on; else every tenth of each class is held out")
    command.add_argument("--names", metavar="FILE", help="lines FOLDER LABEL: what the class folders are called [DATA/classes.txt]")
    command.add_argument("--out", metavar="FOLDER", required=True, help="where the run and its weights go")
    command.add_argument("--resume", action="store_true", help="go on with the run in OUT, if one was begun there")
    command.add_argument(
        "--from", dest="weights", metavar="FILE",
        help="begin with these weights (.safetensors or .pth); a head for other classes is replaced",
    )
    command.add_argument("--arch", default="resnet50", help="without --from: a name, or blocks per stage as 1,1,1,1 [%(default)s]")
    command.add_argument("--width", type=count, default=64, help="without --from: channels of the first layer [%(default)s]")
    command.add_argument("--freeze", metavar="PART,...", help="parts that stay as they are, as in conv1,bn1,layer1,layer3.0")
    length = command.add_mutually_exclusive_group(required=True)
    length.add_argument("--epochs", type=count, help="how long: passes over the pictures")
    length.add_argument("--minutes", type=positive, help="how long: the schedule ends by then, whatever the machine's speed")
    command.add_argument(
        "--sizes", type=sizes, default="128:0.5,160:0.35,192:0.15", metavar="PX:SHARE,...",
        help="pictures that grow during the training [%(default)s]",
    )
    command.add_argument("--crop", type=count, default=224, help="the finished network's input, in pixels [%(default)s]")
    command.add_argument("--resize", type=count, help="the shorter side before the crop [as --crop]")
    command.add_argument("--store", type=count, default=256, help="shorter side of the pictures that crops are cut from [%(default)s]")
    command.add_argument("--batch", type=count, default=64, help="[%(default)s]")
    command.add_argument("--lr", type=positive, help=f"highest learning rate for batches of 64 [{fit.RATE}, with --from {fit.RATE_TUNING}]")
    command.add_argument("--decay", type=float, default=1e-4, help="weight decay [%(default)s]")
    command.add_argument("--smoothing", type=float, default=0.1, help="of the labels [%(default)s]")
    command.add_argument("--seed", type=int, default=0, help="[%(default)s]")
    command.add_argument("--device", default="auto", help="cpu, cuda [auto: cuda if there is one]")
    command.add_argument("--precision", choices=("auto", "bf16", "f32"), default="auto", help="[auto: bf16 where the processor has it]")
    command.add_argument("--cache", default=cache, help="where decoded pictures go [%(default)s]")


def arguments():
    parser = argparse.ArgumentParser(prog="train.py", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name, run, says):
        command = commands.add_parser(
            name, help=says, description=says, epilog="examples:" + EXAMPLES[name],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(run=run)
        return command

    training(add("fit", fit.run, "Train from scratch, or fine-tune from weights."))

    distill = add("distill", fit.run, "Train, or fine-tune, with a teacher beside the truth.")
    training(distill)
    distill.add_argument("--teacher", required=True, help="a file of a ResNet's weights, or efficientnet-lite0 (to 4)")
    distill.add_argument("--teacher-size", type=count, metavar="PX", help="pixels of the crops that the teacher sees [the student's]")
    distill.add_argument("--teacher-outputs", metavar="N,N,...", help="which of the teacher's outputs are the classes, in the folders' order")
    distill.add_argument("--kl", type=float, default=1.0, help="weight of the divergence from the teacher's logits [%(default)s]")
    distill.add_argument("--features", type=float, default=0.0, help="weight of the distance to the teacher's features [%(default)s]")
    distill.add_argument("--temperature", type=positive, default=1.0, help="[%(default)s]")

    deeper = add("grow", grow.run, "Make a deeper network that says the same, to be trained on.")
    deeper.add_argument("weights", metavar="WEIGHTS")
    deeper.add_argument("--to", required=True, metavar="ARCH", help="resnet101, or blocks per stage as 3,4,12,3")
    deeper.add_argument("-o", "--out", required=True, metavar="FILE")

    leave = add("export", export.run, "Write safetensors with the metadata that resnetd-model reads.")
    leave.add_argument("source", metavar="RUN|WEIGHTS", help="a run's folder, finished or not, or a file of weights")
    leave.add_argument("-o", "--out", required=True, metavar="FILE")
    leave.add_argument("--labels", metavar="FILE", help="one label a line")
    for key in ("resize", "crop"):
        leave.add_argument(f"--{key}", type=count)
    for key in ("mean", "std"):
        leave.add_argument(f"--{key}", type=triple, metavar="R,G,B")

    made = add("shapes", shapes.run, "Render pictures of shapes: a data set to try the rest with.")
    made.add_argument("out", metavar="FOLDER")
    made.add_argument("--pictures", type=count, default=200)
    made.add_argument("--side", type=count, default=72, help="in pixels [%(default)s]")
    made.add_argument("--seed", type=int, default=0)
    return parser


def main(argv=None):
    args = arguments().parse_args(argv)
    try:
        return args.run(args)
    except (pictures.BadPictures, resnet.BadWeights, checkpoint.BadRun, OSError, ValueError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
