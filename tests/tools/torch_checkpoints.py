"""Writes the authors' checkpoint files and damaged ones; runs in a process beside PyTorch only."""

import argparse
import collections
import os

import torch


class RunsCode:
    """Makes a folder when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def drop(*keys):
    def change(content):
        for key in keys:
            del content[key]

    return change


def set_option(**options):
    return lambda content: vars(content["args"]).update(options)


def set_entry(name, value):
    return lambda content: content["state_dict"].update({f"module.{name}": value})


def single_device(content):
    state = content["state_dict"]
    content["state_dict"] = {k.removeprefix("module."): v for k, v in state.items()}
    # The authors load without the derived entries too.
    for name in [n for n in state if n.endswith("weight_normalized")]:
        del content["state_dict"][name.removeprefix("module.")]


def old_options(content):
    for name in ("num_mixture_dec", "ada_groups", "min_groups_per_scale"):
        del vars(content["args"])[name]


# What happens to the content before it is saved; a function that returns something replaces it.
CHANGES = {
    "nothing": lambda content: None,
    "single device": single_device,
    "old options": old_options,
    "dict": lambda content: content.update(args=dict(vars(content["args"]))),
    "of LSGM": lambda content: {
        "args": content["args"],
        "dae_state_dict": {"mixing_logit": torch.zeros(1, 2, 1, 1)},
        "vae_state_dict": content["state_dict"],
    },
    "no args": drop("args"),
    "no state_dict": drop("state_dict"),
    "a list": lambda content: [1],
    "args are a number": lambda content: content.update(args=3),
    "no res_dist": lambda content: vars(content["args"]).pop("res_dist") and None,
    "16 channels": set_option(num_channels_enc=16, num_channels_dec=16),
    "3 groups": set_option(num_groups_per_scale=3),
    "unknown cell": set_option(arch_instance="res_mbconv9"),
    "scales in words": set_option(num_latent_scales="two"),
    "unknown data": set_option(dataset="galaxies"),
    "an energy's weight": set_entry("energy.weight", torch.ones(3)),
    "a number": set_entry("stem.bias", 3),
    "not finite": set_entry("stem.bias", torch.full([8], torch.nan)),
}


class Writer:
    """Writes what the authors' programs would save of reference models."""

    def nvae(self, path, weights, args, change="nothing", trace=None, **options):
        """A checkpoint of NVAE: with the prefix of a model on several devices and with counters.

        Args:
            path: of the file.
            weights: arrays by the authors' names.
            args: the options of the training.
            change: what is done to the content first, see `CHANGES`.
            trace: a folder that loading the file makes, if it may run code.
            **options: of `torch.save`.
        """
        state = collections.OrderedDict()
        for key, value in weights.items():
            state[f"module.{key}"] = torch.from_numpy(value)
            if key.endswith("running_var"):
                counter = key.replace("running_var", "num_batches_tracked")
                state[f"module.{counter}"] = torch.tensor(3)
        content = {
            "epoch": 4,
            "global_step": 300,
            "state_dict": state,
            "optimizer": {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": []},
            "args": argparse.Namespace(**args),
            "scheduler": {"last_epoch": 4, "_last_lr": [0.01]},
            "grad_scalar": {"scale": 1024.0, "_growth_tracker": 3},
        }
        if trace:
            content["scheduler"] = RunsCode(trace)
        torch.save(CHANGES[change](content) or content, path, **options)

    def energy(self, path, weights):
        """A file of VAEBM: a dict of state dicts."""
        model = {name: torch.from_numpy(value) for name, value in weights.items()}
        torch.save({"model": model, "optimizer": {}}, path)
