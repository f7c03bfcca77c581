"""Rebuilds the sample models from a fixed seed on MNIST, or on two of CIFAR-10's five training batches.

    python train.py [--data-dir FOLDER] [--only NAME] [--epochs N]

The first four networks are plain modules, `build()` of their folder's `arch.py`.  Training puts a
parametrization on the weights of two of them, and when it is over the parametrized weights are written back
as plain numbers.  The others are made of `lipaudit.layers`, `network()` of their `arch.py`; when training is
over they are frozen.  Either way `model.onnx` and `model.safetensors` hold ordinary layers with bit-
identical weights.

Needs torch, onnx, onnxscript, safetensors and the `lipaudit` package (which reads MNIST).  Times are of the
processor, not of the clock.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from measure import arch_module, clean_accuracy, margin_accuracy
from onnxscript import optimizer, rewriter
from onnxscript.rewriter.rules.common import materialize_reshape_shape_rule
from safetensors.torch import save_file
from second_order import second_order_loss
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

from lipaudit.data import load_dataset
from lipaudit.layers import MarginLoss, freeze

HERE = Path(__file__).resolve().parent
SEED = 2024
EPS = 0.5
SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
CIFAR_BATCHES = ("data_batch_1.bin", "data_batch_2.bin")


class AlmostOrthogonal(nn.Module):
    """AOL rescaling: divides a weight, channel by channel, so that its linear map has norm at most 1.

    For a matrix T and D = diag(d) with d_i = (sum_j |T'T|_ij)^(-1/2), ||T D|| <= 1: D |T'T| D is nonnegative
    and has the positive eigenvector 1/d for the eigenvalue 1, which is therefore its norm.  For a convolution
    with kernel K the sum runs over the input channels j and all shifts u of the self-correlation (K'K)_ij,u;
    it holds for zero and for circular padding.  A map with fewer outputs than inputs is rescaled on its
    outputs instead: the same statement about T', whose norm is the same.

    Prach, Lampert (2022), "Almost-Orthogonal Layers for Efficient General-Purpose Lipschitz Networks", ECCV,
    theorems 1 and 2.
    """

    def forward(self, weight: Tensor) -> Tensor:
        """(c_out, c_in) or (c_out, c_in, k, k) -> the same shape."""
        kernel = weight if weight.ndim == 4 else weight[:, :, None, None]
        on_outputs = kernel.shape[0] < kernel.shape[1]
        rows = kernel if on_outputs else kernel.transpose(0, 1)
        correlation = functional.conv2d(rows, rows, padding=kernel.shape[-1] - 1)
        scale = correlation.abs().sum((1, 2, 3)).rsqrt()
        shape = [1] * weight.ndim
        shape[0 if on_outputs else 1] = -1
        return weight * scale.reshape(shape)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one sample model is trained.

    Attributes:
        constrain: puts a parametrization on one linear layer.
        offset: the true class's logit is lowered by this much in the loss, which asks for a margin.
        temperature: the loss is temperature * cross_entropy(logits / temperature).
        mean: the stored preprocessing, as decimal text; None for pixels as they are.
        std: likewise.
        batch: images per step.
        data: which set of images.
        flips: whether every image is mirrored half of the time.
        radius: the loss is `second_order_loss` at this radius; 0: it is that of offset and temperature.
    """

    epochs: int
    rate: float
    constrain: Callable[[nn.Module], Any] | None
    offset: float
    temperature: float
    mean: str | None
    std: str | None
    batch: int = 128
    data: str = "mnist"
    flips: bool = False
    radius: float = 0.0


def lipschitz(epochs: int) -> Recipe:
    """For a network of `lipaudit.layers`, on pixels as they are."""
    return Recipe(epochs, 0.01, None, 1.0, 0.1, None, None, batch=256)


def on_cifar(rate: float) -> Recipe:
    """The same on CIFAR-10, which is harder: a smaller margin, and mirrored images."""
    return Recipe(10, rate, None, 0.7, 0.25, None, None, batch=256, data="cifar10", flips=True)


def almost_orthogonal(layer: nn.Module) -> None:
    """Start from an orthogonal matrix (at a kernel's centre), which the rescaling leaves as it is."""
    weight = layer.weight
    with torch.no_grad():
        if weight.ndim == 4:
            centre = weight.new_empty(weight.shape[:2])
            nn.init.orthogonal_(centre)
            weight.normal_(std=0.01)
            weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2] = centre
        else:
            nn.init.orthogonal_(weight)
    parametrize.register_parametrization(layer, "weight", AlmostOrthogonal())


RECIPES = {
    "mnist_plain": Recipe(4, 0.005, None, 0.0, 1.0, "0.1307", "0.3081"),
    "mnist_spectral_norm": Recipe(4, 0.005, spectral_norm, 2.0, 0.1, None, None),
    "mnist_lipschitz": Recipe(8, 0.01, almost_orthogonal, 1.0, 0.1, None, None),
    "mnist_softplus": Recipe(12, 0.01, None, 0.0, 1.0, None, None, batch=256, radius=0.6),
    "mnist_aol": lipschitz(4),
    "mnist_bcop": lipschitz(3),
    "mnist_cayley": lipschitz(3),
    "mnist_lot": lipschitz(2),
    "mnist_soc": lipschitz(3),
    "mnist_cpl": lipschitz(3),
    "mnist_sll": lipschitz(3),
    "mnist_sandwich": lipschitz(6),
    "cifar10_sandwich": on_cifar(0.01),
    "cifar10_cayley": on_cifar(0.002),
    "cifar10_bcop": on_cifar(0.002),
}


def linear_layers(network: nn.Module) -> list[nn.Module]:
    """The convolutions and dense layers, in order."""
    return [module for module in network.modules() if type(module).__name__.endswith(("Conv2d", "Linear"))]


def train(network: nn.Module, recipe: Recipe, data: tuple[Tensor, Tensor], epochs: int) -> None:
    """Adam with a one-cycle rate; `network` is left in evaluation mode with plain weights."""
    for layer in linear_layers(network) if recipe.constrain else ():
        recipe.constrain(layer)
    images, labels = normalise(data[0].to(torch.float32) / 255, recipe), data[1]
    steps = epochs * (len(images) // recipe.batch)
    optimiser = torch.optim.Adam(network.parameters(), lr=recipe.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=steps, pct_start=0.2)
    loss_of = MarginLoss(recipe.offset, recipe.temperature)
    network.train()
    for epoch in range(epochs):
        began, total = time.process_time(), 0.0
        order = torch.randperm(len(images))[: len(images) // recipe.batch * recipe.batch]
        for chosen in order.split(recipe.batch):
            seen = mirrored(images[chosen]) if recipe.flips else images[chosen]
            if recipe.radius:
                loss = second_order_loss(network, seen, labels[chosen], recipe.radius)
            else:
                loss = loss_of(network(seen), labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        seconds = time.process_time() - began
        print(
            f"  epoch {epoch + 1}/{epochs}  loss {total * recipe.batch / len(order):.4f}  {seconds:.0f} s",
            flush=True,
        )
    network.eval()
    for layer in linear_layers(network) if recipe.constrain else ():
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def mirrored(images: Tensor) -> Tensor:
    """About half of the images (N, C, H, W), left and right exchanged."""
    return torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, images, images.flip(-1))


def normalise(images: Tensor, recipe: Recipe) -> Tensor:
    """What the stored preprocessing says."""
    if recipe.mean is None or recipe.std is None:
        return images
    return (images - float(recipe.mean)) / float(recipe.std)


def metadata(recipe: Recipe) -> dict[str, str]:
    """The preprocessing as both file formats carry it."""
    value: dict[str, object] = {
        "version": 1,
        "layout": "chw",
        "scale": "1",
        "input_shape": SHAPES[recipe.data],
    }
    if recipe.mean is not None and recipe.std is not None:
        value |= {"mean": [recipe.mean], "std": [recipe.std]}
    return {"lipaudit.preprocessing": json.dumps(value)}


def save(network: nn.Module, recipe: Recipe, folder: Path) -> None:
    """`model.safetensors` and `model.onnx`, the same weights to the last bit."""
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata=metadata(recipe))
    (folder / "model.safetensors").chmod(0o644)  # the writer makes it private
    program = torch.onnx.export(
        network,
        (torch.zeros(2, *SHAPES[recipe.data]),),
        dynamo=True,
        external_data=False,
        opset_version=18,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        input_names=["images"],
        output_names=["logits"],
        verbose=False,
        optimize=False,
    )
    model = simplified(program, state)
    # The exporter notes the source line of every node, with this machine's paths.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for entry in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        del entry.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata(recipe))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, folder / "model.onnx")
    if missing(model, state):
        raise SystemExit(f"model.onnx and model.safetensors differ in {missing(model, state)}")


def simplified(program: torch.onnx.ONNXProgram, state: dict[str, Tensor]) -> onnx.ModelProto:
    """Shape arithmetic as constants, and every weight under its name, to the last bit.

    The exporter's optimiser stores copies of weights that are used transposed or reshaped, unless it folds
    nothing that a weight takes part in; and it folds batch norm into the convolution, which rounds new
    weights: such networks get the one rewriting step they need instead.
    """
    for by_itself in (True, False):
        model = ir.from_proto(program.model_proto)
        if by_itself:
            optimizer.optimize(model)
        else:
            optimizer.optimize_ir(
                model, should_fold=lambda node: None if state.keys().isdisjoint(names_of(node)) else False
            )
        if not missing(ir.to_proto(model), state):
            return ir.to_proto(model)
    rewriter.rewrite(program.model, [materialize_reshape_shape_rule])
    optimizer.remove_unused_nodes(program.model)
    return program.model_proto


def names_of(node: ir.Node) -> list[str]:
    """What the node reads."""
    return [value.name for value in node.inputs if value is not None and value.name is not None]


def missing(model: onnx.ModelProto, state: dict[str, Tensor]) -> list[str]:
    """Weights of the module that the ONNX file does not hold under their names, to the last bit."""
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    wanted = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    return [
        n for n, value in wanted.items() if n not in stored or not np.array_equal(stored[n], value.numpy())
    ]


def training_set(data: str, data_dir: Path | None) -> tuple[Tensor, Tensor] | None:
    """Images (N, C, H, W) in uint8 and labels (N,); of CIFAR-10 the first two batches, in the binary form."""
    if data == "mnist":
        found = load_dataset("mnist:train", data_dir=data_dir)
        return None if found is None else (found.images, found.labels)
    folder = (data_dir or Path()) / "cifar10" / "cifar-10-batches-bin"
    if not all((folder / name).is_file() for name in CIFAR_BATCHES):
        return None
    rows = np.concatenate([np.fromfile(folder / name, np.uint8) for name in CIFAR_BATCHES]).reshape(-1, 3073)
    return torch.from_numpy(rows[:, 1:].reshape(-1, *SHAPES[data])), torch.from_numpy(rows[:, 0]).long()


def build(name: str, data_dir: Path | None, epochs: int | None) -> None:
    """Train one model and write its folder."""
    recipe = RECIPES[name]
    torch.manual_seed(SEED)
    training, test = training_set(recipe.data, data_dir), load_dataset(recipe.data, data_dir=data_dir)
    if training is None or test is None:
        raise SystemExit(f"{recipe.data} was not found")
    arch = arch_module(HERE / name)
    made_of_layers = hasattr(arch, "network")
    network = arch.network() if made_of_layers else arch.build()
    print(f"{name}: {sum(weight.numel() for weight in network.parameters())} parameters", flush=True)
    began = time.process_time()
    train(network, recipe, training, recipe.epochs if epochs is None else epochs)
    print(f"  trained in {time.process_time() - began:.0f} s")
    if made_of_layers:
        network = freeze(network, torch.zeros(1, *SHAPES[recipe.data]))
    save(network, recipe, HERE / name)
    inputs = normalise(test.images.to(torch.float32) / 255, recipe)
    print(f"  clean accuracy on {len(test)} test images: {clean_accuracy(network, inputs, test.labels):.4f}")
    if made_of_layers:
        share = margin_accuracy(network, inputs, test.labels, EPS)
        print(f"  share that a constant of 1 would certify at {EPS}: {share:.4f} (not a guarantee)")


def write_test_set(data_dir: Path | None) -> None:
    """The first 1,000 test images, so that the samples can be audited without a download."""
    test = load_dataset("mnist:test", data_dir=data_dir, limit=1000)
    if test is None:
        raise SystemExit("MNIST was not found")
    np.savez_compressed(HERE / "mnist_test.npz", images=test.images[:, 0].numpy(), labels=test.labels.numpy())


def main() -> None:
    """Parse the command line and rebuild what it asks for."""
    parser = argparse.ArgumentParser(description="Rebuild the sample models from a fixed seed.")
    parser.add_argument(
        "--data-dir", type=Path, help="folder with mnist/ and cifar10/ (default: where lipaudit looks)"
    )
    parser.add_argument("--only", choices=list(RECIPES), help="rebuild one model")
    parser.add_argument("--epochs", type=int, help="another number of epochs, for a quick look")
    options = parser.parse_args()
    # One thread: the order of a sum, hence every bit of the weights, would depend on the number of threads.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name in [options.only] if options.only else RECIPES:
        build(name, options.data_dir, options.epochs)
    if options.only is None or RECIPES[options.only].data == "mnist":
        write_test_set(options.data_dir)


if __name__ == "__main__":
    main()
