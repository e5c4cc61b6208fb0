"""Pictures in, weights out: what is read of foreign files, and that nothing changes on the way."""

import json
import tarfile
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors import safe_open
from torchvision import transforms

import export
import fit
import grow
import resnet
import shapes
from pictures import BadPictures, Listing, Pictures, as_the_device_does, at_most
from test_train import small


class InFolder(unittest.TestCase):
    def setUp(self):
        kept = tempfile.TemporaryDirectory()
        self.addCleanup(kept.cleanup)
        self.folder = Path(kept.name)


class Reading(InFolder):
    def test_a_picture_is_prepared_as_torchvision_does(self):
        random = np.random.default_rng(0)
        for width, height, resize, crop in ((90, 61, 48, 40), (33, 120, 65, 64), (50, 50, 30, 41), (71, 40, 40, 40)):
            picture = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))
            theirs = transforms.CenterCrop(crop)(transforms.Resize(resize)(picture))
            self.assertTrue(np.array_equal(as_the_device_does(picture, resize, crop), theirs), (width, height, resize, crop))

    def test_a_folder_and_a_tar_of_it_hold_the_same(self):
        shapes.write(self.folder / "data", 15, 24, seed=1)
        (self.folder / "data" / "disc" / "notes.txt").write_text("no picture")
        with tarfile.open(self.folder / "data.tar", "w") as archive:
            archive.add(self.folder / "data", "data/")
        (self.folder / "data" / "stray.png").write_bytes(b"in no class")
        one, two = (Pictures.open(self.folder / name, self.folder / "cache", at_most, 16) for name in ("data", "data.tar"))
        self.assertEqual((len(one), one.classes, one[3].shape), (15, list(shapes.CLASSES), (16, 16, 3)))
        self.assertEqual((len(two), two.classes, two.labels.tolist()), (15, one.classes, one.labels.tolist()))
        self.assertTrue(all(np.array_equal(one[i], two[i]) for i in range(15)))

    def test_decoded_pictures_are_found_again_until_they_change(self):
        shapes.write(self.folder / "data", 10, 24, seed=1)
        opened = lambda size: Pictures.open(self.folder / "data", self.folder / "cache", at_most, size)
        opened(16), opened(16)
        self.assertEqual(len(list((self.folder / "cache").iterdir())), 2)
        opened(20)
        shapes.write(self.folder / "data", 15, 24, seed=1)
        self.assertEqual(len(opened(16)), 15)

    def test_a_broken_picture_is_skipped_and_many_are_an_error(self):
        shapes.write(self.folder / "data", 30, 24, seed=1)
        for i in range(3):
            (self.folder / "data" / "disc" / f"broken{i}.jpg").write_bytes(b"\xff\xd8 this is no JPEG")
            if i == 0:
                found = Pictures.open(self.folder / "data", self.folder / "cache", at_most, 16)
                self.assertEqual((len(found), found.skipped), (30, 1))
        (self.folder / "data" / "disc" / "broken4.jpg").write_bytes(b"")
        with self.assertRaisesRegex(BadPictures, "4 of 34 pictures cannot be read"):
            Pictures.open(self.folder / "data", self.folder / "cache", at_most, 16)
        self.assertEqual([file for file in (self.folder / "cache").iterdir() if "new" in file.name], [])

    def test_what_holds_no_pictures_is_said(self):
        (self.folder / "text.tar").write_text("no archive")
        for name, reason in (("", "no JPEG or PNG"), ("none", "no such"), ("text.tar", "not readable")):
            with self.assertRaisesRegex(BadPictures, reason):
                Listing(self.folder / name)

    def test_without_validation_pictures_a_tenth_of_each_class_is_held_out(self):
        shapes.write(self.folder / "data", 100, 24, seed=1)
        (self.folder / "data" / "classes.txt").write_text("disc a full disc\nring a ring\n")
        sizes = {"store": 24, "resize": None, "crop": 24, "batch": 8}
        args = SimpleNamespace(data=self.folder / "data", val=None, cache=self.folder / "cache", names=None, **sizes)
        sets = fit.Sets(args)
        self.assertEqual(np.bincount(sets.watched.labels[sets.watch]).tolist(), [2] * 5)
        self.assertFalse(set(sets.places) & set(sets.watch))
        self.assertEqual(len(sets.places), 90)
        self.assertEqual(sets.labels, ["bars", "cross", "a full disc", "a ring", "triangle"])


class Networks(InFolder):
    def test_a_network_of_torchvisions_tensors_says_what_torchvision_says(self):
        for name in ("resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2"):
            torch.manual_seed(0)
            theirs = getattr(torchvision.models, name)(weights=None, num_classes=7).eval()
            ours = resnet.build(theirs.state_dict()).eval()
            x = torch.randn(2, 3, 64, 64)
            with torch.inference_mode():
                self.assertLess((ours(x) - theirs(x)).abs().max() / theirs(x).abs().max(), 1e-5, name)

    def test_fresh_networks_have_torchvisions_shapes(self):
        for name in ("resnet34", "resnet101"):
            theirs = getattr(torchvision.models, name)(weights=None).state_dict()
            ours = resnet.fresh(name, 1000).state_dict()
            self.assertEqual({k: v.shape for k, v in ours.items()}, {k: v.shape for k, v in theirs.items()})

    def test_pruned_widths_are_those_of_the_tensors(self):
        tensors = small().state_dict()
        for name in ("conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"):
            tensors[f"layer2.1.{name}"] = tensors[f"layer2.1.{name}"][:5]
        tensors["layer2.1.conv2.weight"] = tensors["layer2.1.conv2.weight"][:, :5]
        network = resnet.build(tensors)
        self.assertEqual(network.plan.stages[1][1].widths[0], 5)
        self.assertEqual(network(torch.randn(2, 3, 64, 64)).shape, (2, 5))

    def test_a_head_for_other_classes_is_a_new_one(self):
        tensors = small().state_dict()
        self.assertEqual(resnet.build(tensors, 3).fc.out_features, 3)
        self.assertTrue(torch.equal(resnet.build(tensors, 5).fc.weight, tensors["fc.weight"]))
        self.assertFalse(torch.equal(resnet.build(tensors, 5, new_head=True).fc.weight, tensors["fc.weight"]))

    def test_weights_that_are_none_are_refused_and_no_pickled_code_runs(self):
        class Call:
            def __reduce__(self):
                return (Path.touch, (marker,))

        marker = self.folder / "called"
        torch.save({"conv1.weight": Call()}, self.folder / "evil.pth")
        (self.folder / "short.safetensors").write_bytes(b"\x10")
        for name in ("evil.pth", "short.safetensors", "none.pth"):
            with self.assertRaises(resnet.BadWeights):
                resnet.read(self.folder / name)
        self.assertFalse(marker.exists())
        tensors = small().state_dict()
        for name in ("layer1.0.conv2.weight", "fc.weight", "conv1.weight", "layer3.0.downsample.0.weight"):
            with self.assertRaises(resnet.BadWeights, msg=name):
                resnet.build({key: value for key, value in tensors.items() if key != name})
        with self.assertRaisesRegex(resnet.BadWeights, "surplus"):
            resnet.build(tensors | {"surplus": torch.zeros(1)})

    def test_a_pth_of_torchvision_or_a_training_script_is_read(self):
        tensors = small().state_dict()
        halved = {f"module.{name}": value.half() if value.ndim == 4 else value for name, value in tensors.items()}
        wrapped = {"model": halved, "epoch": 3}
        for state in (tensors, wrapped):
            torch.save(state, self.folder / "weights.pth")
            found = resnet.build(resnet.read(self.folder / "weights.pth")[0])
            self.assertTrue(torch.allclose(found.conv1.weight, tensors["conv1.weight"], atol=1e-3))


class Growing(InFolder):
    def test_a_grown_network_says_exactly_the_same_even_while_training(self):
        network = small()
        grown = resnet.build(grow.grow(network.state_dict(), [1, 5, 1, 1]))
        self.assertEqual(grown.plan.blocks, [1, 5, 1, 1])
        x = torch.randn(4, 3, 64, 64)
        for mode in (False, True):
            network.train(mode), grown.train(mode)
            self.assertTrue(torch.equal(network(x), grown(x)))

    def test_basic_blocks_grow_too(self):
        torch.manual_seed(0)
        network = resnet.fresh("resnet18", 4, 8).eval()
        for module in network.modules():
            if isinstance(module, resnet.Residual):
                torch.nn.init.uniform_(module.last.weight)
        grown = resnet.build(grow.grow(network.state_dict(), [3, 4, 6, 3])).eval()
        x = torch.randn(2, 3, 64, 64)
        self.assertEqual(grown.plan.name, "resnet34")
        self.assertTrue(torch.equal(network(x), grown(x)))

    def test_new_blocks_learn(self):
        grown = resnet.build(grow.grow(small().state_dict(), [1, 3, 1, 1]))
        grown(torch.randn(4, 3, 64, 64)).square().sum().backward()
        silenced = [b.last.weight for b in grown.layer2 if not b.last.weight.any()]
        self.assertEqual(len(silenced), 1)
        self.assertGreater(silenced[0].grad.abs().max(), 0)

    def test_new_blocks_are_spread_and_old_ones_kept_in_order(self):
        places = grow.spread(6, 23)
        old = grow.old_blocks([3, 4, 6, 3], [3, 4, 23, 3])
        self.assertEqual([name for name in old if name.startswith("layer3")], [f"layer3.{n}" for n in (0, 3, 7, 11, 15, 19)])
        self.assertEqual(len(places), 23)
        self.assertEqual([block for block, added in places if not added], list(range(6)))
        self.assertEqual(grow.spread(3, 3), [(0, False), (1, False), (2, False)])

    def test_a_network_does_not_shrink(self):
        with self.assertRaisesRegex(resnet.BadWeights, "does not grow"):
            grow.grow(small().state_dict(), [1, 1, 1, 1])
        with self.assertRaisesRegex(resnet.BadWeights, "none to repeat"):
            grow.grow(small().state_dict(), [2, 2, 1, 1])


class Exporting(InFolder):
    ABOUT = {
        "arch": "x", "labels": ["tench", "Kühlhaus", "c", "d", "e"],
        "resize": 73, "crop": 64, "mean": [0.5, 0.25, 0.125], "std": [1.0, 2.0, 0.1],
    }

    def test_weights_and_what_is_said_of_them_come_back(self):
        network = small().to(memory_format=torch.channels_last)
        export.write(self.folder / "w.safetensors", network.state_dict(), self.ABOUT, {"top1_val_float": 0.5})
        tensors, texts = resnet.read(self.folder / "w.safetensors")
        self.assertEqual(export.described(texts) | {"arch": "x"}, self.ABOUT)
        self.assertIn("bilinear", texts["interpolation"])
        for name, value in resnet.build(tensors).state_dict().items():
            if not name.endswith("num_batches_tracked"):
                self.assertTrue(torch.equal(value, network.state_dict()[name]), name)
        figures = json.loads((self.folder / "w.json").read_text())
        self.assertEqual((figures["top1_val_float"], figures["labels"]), (0.5, self.ABOUT["labels"]))
        with safe_open(self.folder / "w.safetensors", "pt") as file:
            self.assertFalse([name for name in file.keys() if "num_batches" in name])
        self.assertEqual(len(list(self.folder.iterdir())), 2)

    def test_labels_must_be_as_many_as_classes(self):
        export.write(self.folder / "w.safetensors", small().state_dict(), self.ABOUT)
        (self.folder / "labels.txt").write_text("one\ntwo\n")
        said = dict.fromkeys(("mean", "std", "resize", "crop")) | {"labels": self.folder / "labels.txt"}
        args = SimpleNamespace(source=self.folder / "w.safetensors", out=self.folder / "v.safetensors", **said)
        with self.assertRaisesRegex(resnet.BadWeights, "2 labels for 5 classes"):
            export.run(args)
        self.assertFalse((self.folder / "v.safetensors").exists())


if __name__ == "__main__":
    unittest.main()
