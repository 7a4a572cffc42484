"""Teaches a board: show it a few examples of each class, and it tells them apart.

    from teach import Teacher
    teacher = Teacher("/trainable.lil", take)   # take() returns a frame, as model.infer takes it
    teacher.show(0)                             # the camera sees a cup
    teacher.show(1)                             # now it sees a spoon
    teacher.what()                              # -> ("0", 0.93)
    teacher.forget()

What it learned is kept in a small file beside the model, over a reset and a loss of power. With a
button for each class, `teacher.watch(buttons)` does it without a REPL: a button teaches its class,
all of them at once make it forget.
"""

import math
import os
import time

import lilliput
from lilliput.train import Trainer


class Teacher:
    """take: returns a frame. learned: path of the file that keeps what was learned.

    steps: training steps for each example. lr: of each step.
    """

    def __init__(self, path, take, learned=None, steps=4, lr=0.005):
        self.model = lilliput.load(path)
        self.take = take
        self.learned = learned or path + ".learned"
        self.count = steps
        self.trainer = Trainer(self.model, lr=lr)
        self.knows = self._recall()

    def _recall(self):
        """Takes up what was learned before. True when there was something sound."""
        try:
            self.model.apply(self.learned)
        except OSError:
            return False
        except ValueError as error:
            print("forgot all:", error)
            return False
        return True

    def show(self, label):
        """Learns from one frame that it shows this class, and keeps it. Returns the last loss."""
        loss = 0
        frame = self.take()
        try:
            for _ in range(self.count):
                loss = self.trainer.step(frame, label)[0]
        except OverflowError as error:
            print("not learned:", error)
            self.trainer.reset()
            self._recall()
            return None
        self.trainer.save(self.learned)
        self.knows = True
        return loss

    def what(self):
        """What a frame shows: (label, probability)."""
        self.model.infer(self.take())
        best = self.model.top(self.trainer.classes)
        total = sum([math.exp(score - best[0][1]) for _, score in best])
        return str(best[0][0]), 1 / total

    def forget(self):
        """Forgets everything, on file, too."""
        self.trainer.reset()
        for path in (self.learned, self.learned + ".new"):
            try:
                os.remove(path)
            except OSError:
                pass
        self.knows = False

    def watch(self, buttons, seconds=None, pause=50):
        """Says what it sees, and learns when a button is pressed. buttons: one for each class,
        functions that are true while pressed (`pin.value` of an active-high pin)."""
        end = None if seconds is None else time.time() + seconds
        seen = None
        while end is None or time.time() < end:
            pressed = [i for i in range(len(buttons)) if buttons[i]()]
            if len(pressed) == len(buttons) > 1:
                self.forget()
                print("forgotten")
            elif pressed:
                print("class", pressed[0], "loss", self.show(pressed[0]))
            else:
                label, probability = self.what()
                if label != seen:
                    print("I see", label, "(%d%%)" % round(100 * probability))
                    seen = label
            time.sleep(pause / 1000)
