"""YOLOv2 in PyTorch, built from our table of layers, for comparison.

PyTorch is not a dependency of yolojax; `pip install torch` for these benchmarks.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from yolojax.models.layers import Conv, MaxPool, Reorg, Route, Table
from yolojax.models.yolov2 import yolov2

SLOPE = 0.1  # of leaky ReLU
ANCHORS, CLASSES = 5, 20


class Block(nn.Module):
    """One Conv of a table; `folded` has a bias in place of batch normalisation."""

    def __init__(self, layer: Conv, inputs: int, folded: bool):
        super().__init__()
        normal = layer.batch_norm and not folded
        padding = layer.size // 2 if layer.padding is None else layer.padding
        self.conv = nn.Conv2d(
            inputs, layer.filters, layer.size, layer.stride, padding, bias=not normal
        )
        self.norm = nn.BatchNorm2d(layer.filters, momentum=0.01) if normal else nn.Identity()
        self.leaky = layer.activation == "leaky"

    def forward(self, x):
        x = self.norm(self.conv(x))
        return functional.leaky_relu(x, SLOPE, inplace=True) if self.leaky else x


class Net(nn.Module):
    """The layers of a YOLOv2 `table`: images [B, 3, H, W] -> raw [B, outputs, H / 32, W / 32]."""

    def __init__(self, table: Table, *, folded: bool = False):
        super().__init__()
        self.table, channels, blocks = table, [], []
        for i, layer in enumerate(table):
            before = channels[-1] if channels else 3
            if isinstance(layer, Conv):
                blocks.append(Block(layer, before, folded))
                before = layer.filters
            elif isinstance(layer, Route):
                before = sum(channels[j if j >= 0 else i + j] for j in layer.layers)
            elif isinstance(layer, Reorg):
                before *= layer.stride**2
            channels.append(before)
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x):
        outputs, blocks = [], iter(self.blocks)
        for layer in self.table:
            if isinstance(layer, Conv):
                x = next(blocks)(x)
            elif isinstance(layer, MaxPool):
                x = functional.max_pool2d(x, layer.size, layer.stride)
            elif isinstance(layer, Route):
                maps = [outputs[j] for j in layer.layers]
                x = maps[0] if len(maps) == 1 else torch.cat(maps, 1)
            else:  # plain space-to-depth: the same cost as Darknet's order
                x = functional.pixel_unshuffle(x, layer.stride)
            outputs.append(x)
        return x


def torch_step(batch: int, size: int) -> Callable:
    """One update of yolov2-voc in PyTorch, channels_last, which is its fast layout on CPU.

    SGD is that of configs/yolov2_voc.py.
    """
    torch.manual_seed(0)
    net = Net(yolov2(ANCHORS * (5 + CLASSES))).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-5, momentum=0.9, weight_decay=0.0005)
    images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8)
    images = images.contiguous(memory_format=torch.channels_last)
    places = torch.rand(batch, ANCHORS, size // 32, size // 32) < 0.02
    labels = torch.randint(0, CLASSES, (int(places.sum()),))

    def update():
        optimizer.zero_grad(set_to_none=True)
        raw = net(images.float() / 255)
        raw = raw.unflatten(1, (ANCHORS, 5 + CLASSES)).movedim(2, -1)
        objectness = torch.sigmoid(raw[..., 4]) - places.float()
        found = raw[places]
        loss = objectness.square().sum() + (found[:, :4].sigmoid() - 0.5).square().sum()
        loss = loss + functional.cross_entropy(found[:, 5:], labels, reduction="sum")
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return update
