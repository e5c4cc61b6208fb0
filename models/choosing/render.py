"""The page of what choosing.py measured. Every number in it comes from there; the advice says which numbers it rests on."""

import plots

ROWS = ["stem", "layer1", "layer2", "layer3", "layer4", "head"]


def table(head, rows):
    """Markdown, columns of one width."""
    widths = [max(len(str(row[i])) for row in [head, *rows]) for i in range(len(head))]
    line = lambda cells: "| " + " | ".join(str(c).ljust(w) if i == 0 else str(c).rjust(w) for i, (c, w) in enumerate(zip(cells, widths))) + " |"
    rule = "|" + "|".join("-" * (w + 1) + ("-" if i == 0 else ":") for i, w in enumerate(widths)) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])


def percent(share):
    return f"{share * 100:.2f} %"


def points(share):
    return f"{share * 100:+.2f} points"


def write(known, docs):
    networks = known["networks"]
    dots = [(name, n["macs"] / 1e9, n["accuracy"]["int8"] * 100) for name, n in networks.items()]
    (docs / "choosing-accuracy.svg").write_text(plots.scatter(dots, "G multiply-adds", "% right, int8"))
    (docs / "choosing-time.svg").write_text(plots.bars([(name, time_bars(n["time"])) for name, n in networks.items()], "ms"))
    (docs / "CHOOSING.md").write_text(page(known))


def time_bars(time):
    threads = [int(key[5:]) for key in time if key.startswith("int8_")]
    rows = [(f"int8, {n} thread{'s' * (n > 1)}", time[f"int8_{n}"], "a") for n in sorted(threads, reverse=True)]
    return [*rows, ("float in tract, 1 thread", time["float_1"], "b")]


def structure(published):
    small, large = published["resnet50"], published["resnet101"]
    rows = []
    for name in ROWS:
        a, b = small["stages"][name], large["stages"][name]
        rows.append([
            name, "x".join(map(str, a["output"])), a["convs"], b["convs"], f"{a['params'] / 1e6:.2f} M", f"{b['params'] / 1e6:.2f} M",
            f"{a['macs'] / 1e6:.0f} M", f"{b['macs'] / 1e6:.0f} M",
        ])  # fmt: skip
    total = lambda key, unit: (f"{small[key] / 10**unit:.2f} {'MG'[unit == 9]}", f"{large[key] / 10**unit:.2f} {'MG'[unit == 9]}")
    rows.append(["all", "", sum(s["convs"] for s in small["stages"].values()), sum(s["convs"] for s in large["stages"].values()),
                 *total("params", 6), *total("macs", 9)])  # fmt: skip
    head = ["stage", "output", "convolutions: 50", "101", "parameters: 50", "101", "multiply-adds: 50", "101"]
    return table(head, rows)


def costs(networks, threads):
    rows = []
    for name, n in networks.items():
        time, arm = n["time"], n["instructions"]
        count = lambda cpu: f"{arm[cpu]:.0f} M" if cpu in arm else "-"
        rows.append([
            name, f"{n['params'] / 1e6:.1f} M", f"{n['macs'] / 1e9:.2f} G", f"{n['file_mib']:.0f} MiB", f"{time['rss_mib']:.0f} MiB",
            *(f"{time[f'int8_{t}']:.0f} ms" for t in threads), f"{time['float_1']:.0f} ms", count("cortex-a76"), count("cortex-a72"),
        ])  # fmt: skip
    head = ["network", "parameters", "multiply-adds", "file", "process", *(f"int8, {t} thread{'s' * (t > 1)}" for t in threads),
            "float, 1 thread", "instructions, A76", "A72"]  # fmt: skip
    return table(head, rows)


def accuracies(networks):
    rows = []
    for name, n in networks.items():
        a = n["accuracy"]
        rows.append([name, percent(a["float"]), percent(a["int8"]), percent(a["agreement"]), n["how"], n["date"]])
    return table(["network", "float", "int8", "int8 says what float says", "how it was made", "measured"], rows)


def trainings(networks):
    rows = []
    for name, n in networks.items():
        t = n.get("training")
        if t:
            minutes = "not written down" if t["seconds"] is None else f"{t['seconds'] / 60:.0f}"
            rows.append([name, t["from"] or "nothing", t["trained_on"], t["epochs"], minutes, t["on"] or "-"])
    if not rows:
        return ""
    return "\n\nWhat training cost (models/train):\n\n" + table(["network", "from", "pictures", "epochs", "minutes", "on"], rows)


def page(known):
    networks, published, machine = known["networks"], known["published"], known["machine"]
    small, large = networks["resnet50"], networks["resnet101"]
    threads = sorted(int(key[5:]) for key in small["time"] if key.startswith("int8_"))
    gained = large["accuracy"]["int8"] - small["accuracy"]["int8"]
    dearer = large["time"]["int8_1"] / small["time"]["int8_1"]
    faster = small["time"]["float_1"] / small["time"]["int8_1"]
    lost = small["accuracy"]["float"] - small["accuracy"]["int8"]
    return f"""# Choosing a network

Written by `models/choosing/choosing.py` from what it measured; do not edit. Times: {machine["processor"]}, {machine["cores"]} cores,
{machine["date"]}, {small["time"]["isa"]}. They are one machine's; `resnetd bench` has yours.

## Two networks of one kind

ResNet50 and ResNet101 (He et al., 2015) differ in one stage: the third has 6 blocks in one and 23 in the other. With ImageNet's thousand classes:

{structure(published)}

Everything that ResNet101 has more lies at 14x14 pixels: more depth for what parts of an object mean together, not for finer detail.

## What they cost

{costs(networks, threads)}

![Time of one inference](choosing-time.svg)

ResNet101 takes {dearer:.2f} times as long as ResNet50 on one thread. Int8 makes {faster:.1f} times as many frames of ResNet50 as float does there, in
a quarter of the file. "Process" is all that resnetd's process has had in memory. Instructions are counted under QEMU, one thread, `RESNETD_WINOGRAD=auto`.

## What they get right

{small["accuracy"]["images"]} photographs of ten classes ({small["accuracy"]["data"]}), none of which was trained or calibrated with:

{accuracies(networks)}

![Accuracy against cost](choosing-accuracy.svg)

ResNet101 against ResNet50 in int8: {points(gained)}{", which these photographs are too few to tell from nothing ([models/README.md](../models/README.md) says what they have to teach)" * (abs(gained) * 100 < chance(small["accuracy"]))}. Int8 against float for ResNet50: {points(-lost)}. One photograph is {100 / small["accuracy"]["images"]:.2f} points;
another set of as many photographs would give another figure: by up to {chance(small["accuracy"]):.1f} points in 95 of 100 cases. On ImageNet torchvision's published
weights of the two are 1 to 1.3 points apart ([its table](https://docs.pytorch.org/vision/stable/models.html)).{trainings(networks)}

## Which to take

{advice(small, large, networks)}
"""


def chance(accuracy):
    """Two standard deviations of a share, in points."""
    share = accuracy["int8"]
    return 200 * (share * (1 - share) / accuracy["images"]) ** 0.5


def advice(small, large, networks):
    """What the figures say, in the words of someone who has a device in his hand."""
    rate = lambda n: 1000 / n["time"]["int8_1"]
    others = [name for name in networks if name not in ("resnet50", "resnet101")]
    smaller = [name for name in others if networks[name]["macs"] < small["macs"]]
    lighter = ", ".join(
        f"{name} ({networks[name]['macs'] / 1e9:.1f} G multiply-adds, {percent(networks[name]['accuracy']['int8'])})" for name in smaller
    )
    return f"""- **Live video.** Take ResNet50: {rate(small):.0f} frames a second on one thread here, ResNet101 {rate(large):.0f}. What comes twice as often
  can be averaged over twice as many frames (`smoothing_ms`) and follows a change in half of the time. Take ResNet101 where
  a few frames a second are enough and the scene is hard: many small or partly hidden objects, poor light.
- **Few pictures to learn from.** Keep the backbone and learn only the last layer (`resnetd-model teach`): it has a few thousand numbers
  to find instead of millions. A deeper backbone helps only if it was trained on more, ImageNet's for example.
- **Fine-grained labels** (breeds, models, defects). First more pixels: the same network at a larger `--crop` sees the detail that tells them apart, and
  costs in proportion to the pixels. Then ResNet101, fine-tuned as a whole (`models/train`, `fit --from`).
- **Several labels at once.** The same backbones with a sigmoid for each label (`teach --multi-label`, `import --multi-label`, or an ONNX file that ends in one); cost and memory are the same.
- **A device too small for either.** Prune and distil, in this order{": " + lighter if lighter else ""}; a ResNet18 or 34 imports and
  quantizes the same way. If only memory is short, int8 already takes {small["time"]["rss_mib"]:.0f} MiB for ResNet50 and {large["time"]["rss_mib"]:.0f} for ResNet101."""
