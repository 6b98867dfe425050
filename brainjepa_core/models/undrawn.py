"""Networks whose weights are put in afterwards: to draw them first takes longer than the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_DRAWS = {
    Tensor.uniform_, Tensor.normal_, nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_,
}  # fmt: skip


class Undrawn(TorchFunctionMode):
    """Within it random weights are zeros, and no generator moves."""

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Zeros where numbers are drawn; all else as it is."""
        kwargs = kwargs or {}
        if func in _DRAWS:
            return (kwargs["tensor"] if "tensor" in kwargs else args[0]).detach().zero_()
        if func is Tensor.erfinv_:  # of the zeros that truncated normal numbers come from
            return args[0]
        return func(*args, **kwargs)
