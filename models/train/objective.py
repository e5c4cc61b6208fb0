"""What a training minimizes: the distance to the truth, and to a teacher where there is one.

Hinton et al., "Distilling the Knowledge in a Neural Network" (2015). The teacher sees the same crops as the student.
"""

import torch
from torch import nn
from torch.nn import functional as F

from crops import normalized


class Truth(nn.Module):
    """Cross entropy with smoothed labels."""

    teacher_size = None  # asks for no second crop

    def __init__(self, mean, std, smoothing):
        super().__init__()
        self.mean, self.std, self.smoothing = mean, std, smoothing

    def forward(self, network, batch, machine):
        """The loss, and how many pictures were recognized."""
        features, logits, labels = self.student(network, batch, machine)
        return self.truth(logits, labels), self.recognized(logits, labels)

    def student(self, network, batch, machine):
        x = normalized(batch.pictures, self.mean, self.std, machine.device, batch.colours)
        with machine.autocast():
            features = network.features(x)
            logits = network.fc(features)
        return features, logits.float(), batch.labels.to(machine.device)

    def truth(self, logits, labels):
        return F.cross_entropy(logits, labels, label_smoothing=self.smoothing)

    @staticmethod
    def recognized(logits, labels):
        return (logits.argmax(1) == labels).sum()


def divergence(student, teacher, temperature=1.0):
    """Kullback-Leibler, from the student's logits to the teacher's; the gradients do not shrink with the temperature."""
    student, teacher = (F.log_softmax(logits.float() / temperature, 1) for logits in (student, teacher))
    return F.kl_div(student, teacher, log_target=True, reduction="batchmean") * temperature**2


class Distillation(Truth):
    """The truth, plus `kl` times the divergence from the teacher's logits, plus `features` times the cosine distance
    to what the teacher's last layer reads.

    A teacher of other classes (ImageNet's thousand) is learned through a second head, and features of another width
    through a third; both are thrown away afterwards. `outputs` says which of the teacher's outputs are the student's
    classes: these are compared as well, among each other; alone if the student is `settled`, which is to say knows its
    classes already: what a head that begins at random sends back would undo more of that than it teaches in a few epochs.
    """

    def __init__(self, truth, teacher, network, *, kl, features, temperature, outputs=None, settled=False):
        super().__init__(truth.mean, truth.std, truth.smoothing)
        self.weight_kl, self.weight_features, self.temperature = kl, features, temperature
        self.outputs, self.teacher_size = outputs, teacher.size
        self._teacher = [teacher]  # in a list: no part of this module's parameters
        width, classes = network.fc.in_features, network.fc.out_features
        same_classes = teacher.classes == classes and outputs is None
        second = kl and not same_classes and not (settled and outputs is not None)
        self.logits = nn.Linear(width, teacher.classes) if second else None
        self.direct = bool(kl) and (same_classes or outputs is not None)
        adapt = features and teacher.width != width
        self.features = nn.Linear(width, teacher.width) if adapt else nn.Identity()

    def forward(self, network, batch, machine):
        features, logits, labels = self.student(network, batch, machine)
        theirs, their_features = self._teacher[0](batch, machine)
        loss = self.truth(logits, labels)
        if self.direct:
            chosen = theirs if self.outputs is None else theirs[:, self.outputs]
            loss = loss + self.weight_kl * divergence(logits, chosen, self.temperature)
        if self.logits is not None:
            loss = loss + self.weight_kl * divergence(self.logits(features.float()), theirs, self.temperature)
        if self.weight_features:
            distance = 1 - F.cosine_similarity(self.features(features.float()), their_features)
            loss = loss + self.weight_features * distance.mean()
        return loss, self.recognized(logits, labels)


class Teacher:
    """A network that is only asked. `features(x)` gives what its last layer `head` reads."""

    def __init__(self, features, head, mean, std, size):
        self.features, self.head, self.mean, self.std, self.size = features, head, mean, std, size
        self.classes, self.width = head.out_features, head.in_features

    def __call__(self, batch, machine):
        crops = batch.pictures if batch.for_teacher is None else batch.for_teacher
        with torch.no_grad(), machine.autocast():
            features = self.features(normalized(crops, self.mean, self.std, machine.device, batch.colours))
            return self.head(features).float(), features.float()
