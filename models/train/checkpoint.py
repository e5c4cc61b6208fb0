"""A training on disk: everything that its next step depends on. Written beside its place and renamed, so that a cut of
power leaves the last one whole."""

import os
from pathlib import Path

import torch

NAME = "checkpoint.pt"


class BadRun(Exception):
    """Why a run cannot begin or go on, and the remedy."""


def write(folder, state):
    place = Path(folder) / NAME
    new = place.with_suffix(".new")
    torch.save(state, new)
    os.replace(new, place)


def read(folder):
    place = Path(folder) / NAME
    try:
        return torch.load(place, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise BadRun(f"{place}: there is none; no training began here") from error
    except Exception as error:  # of many kinds
        raise BadRun(f"{place}: not readable: {str(error).splitlines()[0]}") from error


def begin(folder, resume, settings):
    """The state to go on from, or None for a new run in `folder`."""
    place = Path(folder) / NAME
    if not place.exists():
        Path(folder).mkdir(parents=True, exist_ok=True)
        return None
    if not resume:
        raise BadRun(f"{folder} holds a training already: --resume goes on with it, another --out begins anew")
    state = read(folder)
    changed = sorted(key for key in settings | state["settings"] if settings.get(key) != state["settings"].get(key))
    if changed:
        was = ", ".join(f"{key} {state['settings'].get(key)}" for key in changed)
        raise BadRun(f"{folder} was begun with other settings ({was}): a training goes on only as it began")
    return state
