"""A training: that resuming changes nothing, what the average and the teacher do, and when a schedule ends."""

import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import torch

import checkpoint
import crops
import export
import resnet
import schedule
import shapes
import train
from average import Average
from loop import Training
from machine import Machine
from objective import Distillation, Teacher, Truth, divergence
from pictures import Pictures, at_most

MEAN, STD = export.IMAGENET["mean"], export.IMAGENET["std"]


def small(seed=0, classes=5):
    torch.manual_seed(seed)
    network = resnet.fresh("1,2,1,1", classes, 8)
    for module in network.modules():  # as if trained: nothing is zero or one
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                torch.nn.init.uniform_(tensor, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return network


class OnShapes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kept = tempfile.TemporaryDirectory()
        cls.folder = Path(cls.kept.name)
        shapes.write(cls.folder / "data", 60, 40, seed=3)
        cls.pictures = Pictures.open(cls.folder / "data", cls.folder / "cache", at_most, 256)
        cls.crops = crops.Crops(cls.pictures, np.arange(60), 16, seed=5)

    @classmethod
    def tearDownClass(cls):
        cls.kept.cleanup()

    def training(self, steps, **more):
        network, machine = small(), Machine("cpu", "f32")
        plan = schedule.Schedule(schedule.sizes("32:0.5,48:0.5"), 0.05, steps=steps)
        return Training(network, Truth(MEAN, STD, 0.1), self.crops, plan, machine, {}, **more)


class Resuming(OnShapes):
    def test_an_interrupted_training_ends_with_the_same_bits(self):
        whole = self.training(9)
        self.assertTrue(whole.run())
        with tempfile.TemporaryDirectory() as folder:
            first = self.training(9, folder=folder, settings={"seed": 5})
            self.assertFalse(first.run(until=4))
            second = self.training(9, folder=folder, settings={"seed": 5})
            second.load(checkpoint.begin(folder, True, {"seed": 5}))
            self.assertTrue(second.run())
        self.assertEqual((second.step, second.loss), (9, whole.loss))
        for mine, theirs in (
            (second.network.state_dict(), whole.network.state_dict()),
            (second.average.tensors, whole.average.tensors),
        ):
            for name, value in mine.items():
                self.assertTrue(torch.equal(value, theirs[name]), name)

    def test_a_training_goes_on_only_as_it_began_and_is_not_overwritten(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertIsNone(checkpoint.begin(folder, True, {"lr": 1}))
            checkpoint.write(folder, {"settings": {"lr": 1}})
            with self.assertRaisesRegex(checkpoint.BadRun, "--resume goes on"):
                checkpoint.begin(folder, False, {"lr": 1})
            with self.assertRaisesRegex(checkpoint.BadRun, "other settings .lr 1"):
                checkpoint.begin(folder, True, {"lr": 2})

    def test_a_signal_leaves_a_checkpoint_to_go_on_from(self):
        with tempfile.TemporaryDirectory() as folder:
            training = self.training(9, folder=folder)
            step = training._step
            with mock.patch.object(training, "_step", side_effect=lambda *a: (step(*a), training.stop())):
                self.assertFalse(training.run())
            self.assertEqual(checkpoint.read(folder)["step"], 1)


class Freezing(OnShapes):
    def test_frozen_parts_keep_weights_and_statistics_and_the_others_learn(self):
        training = self.training(3)
        training.network.freeze(["conv1", "bn1", "layer1.0"])
        training = Training(training.network, training.objective, self.crops, training.schedule, training.machine, {})
        before = {name: value.clone() for name, value in training.network.state_dict().items()}
        self.assertTrue(training.run())
        for name, value in training.network.state_dict().items():
            same = torch.equal(value, before[name])
            self.assertEqual(same, name.startswith(("conv1.", "bn1.", "layer1.0.")), name)

    def test_a_part_that_is_none_and_nothing_left_to_train_are_refused(self):
        with self.assertRaisesRegex(resnet.BadWeights, "no part called 'layer9'"):
            small().freeze(["layer9"])
        parts = [name for name, _ in small().named_children()]
        with self.assertRaisesRegex(resnet.BadWeights, "nothing is left"):
            small().freeze(parts)


class Batches(OnShapes):
    def test_a_batch_depends_on_seed_step_and_size_alone(self):
        again = crops.Crops(self.pictures, np.arange(60), 16, seed=5)
        one, two = self.crops.batch(7, 32), again.batch(7, 32)
        self.assertTrue(torch.equal(one.pictures, two.pictures) and torch.equal(one.colours, two.colours))
        self.assertFalse(torch.equal(one.pictures, self.crops.batch(8, 32).pictures))
        other = crops.Crops(self.pictures, np.arange(60), 16, seed=6)
        self.assertFalse(torch.equal(one.pictures, other.batch(7, 32).pictures))

    def test_an_epoch_shows_no_picture_twice_and_the_next_has_fresh_crops(self):
        single = crops.Crops(self.pictures, np.array([7, 22]), 1, seed=5)
        first, second = single.batch(0, 32), single.batch(1, 32)
        self.assertFalse(torch.equal(first.pictures, second.pictures))
        later = [single.batch(step, 32).pictures for step in range(2, 4)]
        self.assertFalse(any(torch.equal(first.pictures, crop) for crop in later))

    def test_the_teacher_sees_the_same_crop_larger(self):
        batch = self.crops.batch(0, 32, 64)
        self.assertEqual(batch.for_teacher.shape, (16, 64, 64, 3))
        shrunk = torch.nn.functional.avg_pool2d(batch.for_teacher.permute(0, 3, 1, 2).float(), 2)
        difference = (shrunk - batch.pictures.permute(0, 3, 1, 2)).abs().mean()
        self.assertLess(difference, 8)

    def test_crops_lie_within_their_picture(self):
        for draw in np.random.default_rng(0).random((500, 4)):
            left, top, right, bottom = crops.crop_box(90, 40, draw)
            self.assertTrue(0 <= left < right <= 90 and 0 <= top < bottom <= 40)


class Averages(unittest.TestCase):
    def test_the_average_is_the_exponential_one(self):
        layer = torch.nn.Linear(1, 1, bias=False)
        average, expected = Average(layer, horizon=4), layer.weight.item()
        for step in range(1, 60):
            torch.nn.init.constant_(layer.weight, float(step % 7))
            average.update(layer)
            share = max(1 / 4, 9 / (10 + step))
            expected += share * (step % 7 - expected)
        self.assertAlmostEqual(average.tensors["weight"].item(), expected, places=5)

    def test_what_does_not_change_is_its_own_average(self):
        network = small()
        average = Average(network)
        for _ in range(3):
            average.update(network)
        for name, value in network.state_dict().items():
            self.assertTrue(torch.allclose(average.tensors[name], value), name)


class Distilling(OnShapes):
    def distillation(self, student, teacher, **weights):
        weights = {"kl": 1.0, "features": 1.0, "temperature": 2.0} | weights
        asked = Teacher(teacher.eval().features, teacher.fc, MEAN, STD, None)
        return Distillation(Truth(MEAN, STD, 0.0), asked, student.eval(), **weights)

    def loss(self, objective, student, batch):
        machine = Machine("cpu", "f32")
        truth = Truth(MEAN, STD, 0.0)(student, batch, machine)[0]
        return (objective(student, batch, machine)[0] - truth).item()

    def test_a_teacher_that_is_the_student_adds_nothing(self):
        student, batch = small(), self.crops.batch(0, 32)
        objective = self.distillation(student, small())
        self.assertAlmostEqual(self.loss(objective, student, batch), 0, places=5)
        other = self.distillation(student, small(seed=1))
        self.assertGreater(self.loss(other, student, batch), 0.01)

    def test_a_divergence_is_the_sum_that_defines_it(self):
        student, teacher = torch.randn(4, 3), torch.randn(4, 3)
        p, q = teacher.softmax(1), student.softmax(1)
        self.assertAlmostEqual(divergence(student, teacher).item(), (p * (p / q).log()).sum(1).mean().item(), places=5)
        self.assertEqual(divergence(teacher, teacher, 3.0).item(), 0)

    def test_a_teacher_of_other_classes_is_learned_by_a_second_head(self):
        student, batch = small(), self.crops.batch(0, 32)
        objective = self.distillation(student, small(seed=1, classes=9), outputs=[8, 6, 4, 2, 0])
        self.assertEqual(objective.logits.out_features, 9)
        self.assertTrue(objective.direct)
        objective(student, batch, Machine("cpu", "f32"))[0].backward()
        self.assertIsNotNone(objective.logits.weight.grad)
        self.assertIsNone(self.distillation(student, small(seed=1)).logits)

    def test_a_student_that_knows_its_classes_gets_no_second_head_where_it_can_be_compared_directly(self):
        nine = small(seed=1, classes=9)
        told = self.distillation(small(), nine, outputs=[8, 6, 4, 2, 0], settled=True)
        self.assertTrue(told.direct)
        self.assertIsNone(told.logits)
        self.assertIsNotNone(self.distillation(small(), nine, settled=True).logits)


class Schedules(unittest.TestCase):
    def test_pictures_grow_and_rates_fall(self):
        plan = schedule.Schedule(schedule.sizes("96:1,128:1,160:2"), 0.1, steps=100)
        self.assertEqual([plan.size(plan.progress(step, 0)) for step in (0, 24, 25, 49, 50, 99)], [96, 96, 128, 128, 160, 160])
        rates = [plan.rate(plan.progress(step, 0)) for step in range(100)]
        self.assertAlmostEqual(max(rates), 0.1, places=4)
        self.assertEqual(rates[3:], sorted(rates[3:], reverse=True))
        self.assertLess(rates[0], 0.01)
        self.assertLess(rates[-1], 0.001)

    def test_a_budget_of_time_shapes_it_whatever_a_step_takes(self):
        plan = schedule.Schedule(schedule.sizes("96:1,128:1"), 0.1, seconds=60)
        self.assertEqual([plan.size(plan.progress(1, seconds)) for seconds in (0, 29, 31, 70)], [96, 96, 128, 128])
        self.assertEqual(plan.progress(10_000, 60), 1)

    def test_the_work_left_counts_pixels(self):
        plan = schedule.Schedule(schedule.sizes("100:0.5,200:0.5"), 0.1, steps=10)
        self.assertAlmostEqual(plan.work(0), 5 * 100**2 + 5 * 200**2)
        self.assertAlmostEqual(plan.work(0.75), 2.5 * 200**2)

    def test_sizes_that_make_no_sense_are_refused(self):
        for text in ("", "abc", "96:0", "8:1", "96:nan", "96:1;128:1"):
            with self.assertRaises(ValueError, msg=text):
                schedule.sizes(text)


class CommandLine(unittest.TestCase):
    def test_every_command_shows_an_example(self):
        parser = train.arguments()
        commands = next(action.choices for action in parser._actions if action.dest == "command")
        for name, command in commands.items():
            self.assertIn(f"train.py {name} ", command.format_help())


if __name__ == "__main__":
    unittest.main()
