"""The network of NVAE: bottom-up encoder, top-down decoder shared by prior and posterior.

Paper: Vahdat & Kautz, 2020 (arXiv:2007.03898), figures 2 and 3. Everything here is declared
against a `ParameterBank` and computes with whatever view of the weights it is handed.
"""

from collections.abc import Callable

import tensorflow as tf

from tfgen.generative.nvae.architecture import get_architecture
from tfgen.generative.nvae.flow import ShiftFlow
from tfgen.layers.bank import ParameterBank
from tfgen.layers.residual import Cell, ResidualBody

# Chooses z of one group: (group index, raw prior mean, raw prior log-scale, decoder state) -> z
Choose = Callable[[int, tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


class Network:
    """Declared parts of an NVAE.

    Args:
        bank: the `ParameterBank` where parameters are declared.
        grid: pair `(height, width)` of the padded image.
        image_channels: integer, channels of the image.
        head_channels: integer, channels of the decoder's output.
        groups: list of integers, latent groups per scale, top first.
        options: dict of the remaining constructor arguments of `NVAE`.
    """

    def __init__(self, bank: ParameterBank, grid, image_channels, head_channels, groups, options):
        self.bank = bank
        self.options = options
        self.arch = get_architecture(options["architecture"])
        self.groups = groups
        self.num_groups = sum(groups)
        self.scale_of_group = [s for s, count in enumerate(groups) for _ in range(count)]
        self.vanilla = groups == [1]
        base, blocks, scales = options["num_channels"], options["preprocess_blocks"], len(groups)
        # Index 0 is the top: smallest grid, most channels.
        shrink = [2 ** (blocks + scales - 1 - s) for s in range(scales)]
        self.grids = [(grid[0] // k, grid[1] // k) for k in shrink]
        self.widths = [base * k for k in shrink]
        self.latent_shapes = [
            (*self.grids[s], options["latent_channels"]) for s in self.scale_of_group
        ]
        # Of the decoder state above each group's prior; the top group has none.
        self.context_shapes = [
            (*self.grids[s], self.widths[s]) if group else None
            for group, s in enumerate(self.scale_of_group)
        ]
        self.stem = bank.conv(image_channels, base, 3)
        self.preprocess = self._resampling_cells(
            base, blocks, options["preprocess_cells"], self.arch.preprocess, "down"
        )
        self._declare_encoder()
        self._declare_samplers()
        self._declare_decoder()
        self.postprocess = self._resampling_cells(
            self.widths[-1],
            options["postprocess_blocks"],
            options["postprocess_cells"],
            self.arch.postprocess,
            "up",
        )
        final = self.widths[-1] // 2 ** options["postprocess_blocks"]
        self.head = bank.conv(final, head_channels, 3)

    def _cell(self, body, channels, filters=None, resample=None) -> Cell:
        filters = channels if filters is None else filters
        return Cell(self.bank, body, channels, filters, resample, self.options["squeeze_excite"])

    def _resampling_cells(self, channels, blocks, cells, body, resample) -> list[Cell]:
        result = []
        for _ in range(blocks):
            target = channels * 2 if resample == "down" else channels // 2
            change = self._cell(body, channels, target, resample)
            # Going down the change of size comes last in its block, going up first.
            if resample == "down":
                result += [self._cell(body, channels) for _ in range(cells - 1)] + [change]
            else:
                result += [change] + [self._cell(body, target) for _ in range(cells - 1)]
            channels = target
        return result

    def _declare_encoder(self):
        """Per scale, finest first: cells of each group and a slot after each but the topmost
        group."""
        self.encoder: list[list[list[Cell]]] = []
        self.encoder_down: list[Cell] = []
        self.encoder_combiners = {}
        group = self.num_groups - 1
        if not self.vanilla:
            for scale in reversed(range(len(self.groups))):
                width, cells = self.widths[scale], []
                for _ in range(self.groups[scale]):
                    cells.append(
                        [
                            self._cell(self.arch.encoder, width)
                            for _ in range(self.options["encoder_cells"])
                        ]
                    )
                    if group > 0:
                        self.encoder_combiners[group] = self.bank.conv(width, width, 1)
                    group -= 1
                self.encoder.append(cells)
                if scale > 0:
                    self.encoder_down.append(
                        self._cell(self.arch.encoder, width, 2 * width, "down")
                    )
        self.encoder_top = self.bank.conv(self.widths[0], self.widths[0], 1)

    def _declare_samplers(self):
        latent = self.options["latent_channels"]
        widths = [self.widths[s] for s in self.scale_of_group]
        self.encoder_samplers = [self.bank.conv(width, 2 * latent, 3) for width in widths]
        self.decoder_samplers = [
            self.bank.conv(width, 2 * latent, 1) if group else None
            for group, width in enumerate(widths)
        ]
        conditional = self.options["conditional_flow"]
        self.flows = [
            [
                ShiftFlow(self.bank, latent, mirror, width if conditional else 0)
                for _ in range(self.options["num_flows"])
                for mirror in (False, True)
            ]
            for width in widths
        ]

    def _declare_decoder(self):
        latent = self.options["latent_channels"]
        if self.vanilla:
            self.stem_decoder = self.bank.conv(latent, self.widths[0], 1)
            return
        self.initial_state = self.bank.free("prior_features", (*self.grids[0], self.widths[0]))
        self.decoder, self.decoder_combiners, self.decoder_up = [], [], []
        for group, scale in enumerate(self.scale_of_group):
            width = self.widths[scale]
            count = self.options["decoder_cells"] if group else 0
            self.decoder.append([self._cell(self.arch.decoder, width) for _ in range(count)])
            self.decoder_combiners.append(self.bank.conv(width + latent, width, 1))
            last = group + 1 == self.num_groups or self.scale_of_group[group + 1] != scale
            up = last and group + 1 < self.num_groups
            self.decoder_up.append(
                self._cell(self.arch.decoder, width, width // 2, "up") if up else None
            )

    def convs_without_norm(self) -> list:
        """Convolutions of cells that have no batch norm."""
        towers = [self.encoder, self.encoder_down, self.preprocess, self.postprocess]
        if not self.vanilla:
            towers += [self.decoder, self.decoder_up]
        bodies = [cell.body for cell in _flat(towers) if cell is not None]
        return [
            conv
            for body in bodies
            if isinstance(body, ResidualBody) and body.norms[0] is None
            for conv in body.convs
        ]

    # -- computing --------------------------------------------------------------------------------

    def bottom_up(self, w, x) -> list[tf.Tensor]:
        """Encoder features of every group, top first, of an image `[B, H, W, C]` in [-1, 1]."""
        x = w.conv(self.stem, x)
        for cell in self.preprocess:
            x = cell(w, x)
        features = [None] * self.num_groups
        group = self.num_groups - 1
        for scale, cells_of_group in enumerate(self.encoder):
            for cells in cells_of_group:
                for cell in cells:
                    x = cell(w, x)
                features[group] = x
                group -= 1
            if scale < len(self.encoder_down):
                x = self.encoder_down[scale](w, x)
        features[0] = tf.nn.elu(w.conv(self.encoder_top, tf.nn.elu(x)))
        return features

    def top_down(self, w, batch_size, choose: Choose) -> tf.Tensor:
        """Decoder: walks the groups, asks `choose` for each z, returns the head's output."""
        if self.vanilla:
            zeros = tf.zeros((batch_size, *self.latent_shapes[0]))
            z = choose(0, zeros, zeros, zeros)
            state = w.conv(self.stem_decoder, tf.cast(z, w.dtype))
        else:
            state = self._walk(w, batch_size, choose)
        for cell in self.postprocess:
            state = cell(w, state)
        return tf.cast(w.conv(self.head, tf.nn.elu(state)), tf.float32)

    def _walk(self, w, batch_size, choose: Choose) -> tf.Tensor:
        initial = tf.expand_dims(w.free(self.initial_state), 0)
        state = tf.tile(initial, [batch_size, 1, 1, 1])
        for group in range(self.num_groups):
            for cell in self.decoder[group]:
                state = cell(w, state)
            z = choose(group, *self._prior(w, group, state, batch_size), state)
            joined = tf.concat([state, tf.cast(z, state.dtype)], axis=-1)
            state = w.conv(self.decoder_combiners[group], joined)
            if self.decoder_up[group] is not None:
                state = self.decoder_up[group](w, state)
        return state

    def _prior(self, w, group, state, batch_size):
        """Raw mean and log-scale of p(z_l | z_<l); zeros for the top group."""
        if group == 0:
            zeros = tf.zeros((batch_size, *self.latent_shapes[0]))
            return zeros, zeros
        raw = w.conv(self.decoder_samplers[group], tf.nn.elu(state))
        return tf.split(tf.cast(raw, tf.float32), 2, axis=-1)

    def posterior_offsets(self, w, group, features, state):
        """Raw mean and log-scale that the encoder adds to those of the prior (section 3.2)."""
        combined = features[group]
        if group > 0:
            combined += w.conv(self.encoder_combiners[group], state)
        raw = w.conv(self.encoder_samplers[group], combined)
        return tf.split(tf.cast(raw, tf.float32), 2, axis=-1)

    def flow(self, w, group, z, features):
        """The group's autoregressive flow, z unchanged when there is none."""
        for step in self.flows[group]:
            z = step(w, z, features[group] if step.condition is not None else None)
        return z


def _flat(nested):
    for item in nested:
        if isinstance(item, list):
            yield from _flat(item)
        else:
            yield item
