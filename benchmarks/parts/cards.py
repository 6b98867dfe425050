"""Dense bf16 peaks of cards with tensor cores, from their data sheets.

A name holds for several boards: an H100 on PCIe has three quarters of the rate of one on SXM.
"""

from __future__ import annotations

PEAKS = (  # words of a card's name, all of which it has, and TFLOP/s; the first that fits counts
    (("GH200",), 989.0),
    (("H200", "NVL"), 835.0),
    (("H200",), 989.0),
    (("H100", "NVL"), 835.0),
    (("H100", "PCIe"), 756.0),
    (("H100",), 989.0),
    (("H800", "PCIe"), 756.0),
    (("H800",), 989.0),
    (("H20",), 148.0),
    (("B200",), 2250.0),
    (("A100",), 312.0),  # SXM and PCIe alike
    (("A800",), 312.0),
    (("A40",), 149.7),
    (("A30",), 165.0),
    (("A10G",), 70.0),
    (("A10",), 125.0),
    (("L40S",), 362.0),
    (("L40",), 181.0),
    (("L4",), 121.0),
    (("RTX", "6000", "Ada"), 364.0),
    (("RTX", "A6000"), 154.8),
    (("RTX", "4090"), 165.2),
    (("RTX", "3090"), 71.0),
)


def peak_of(card: str, precision: str) -> float | None:
    """TFLOP/s that a card reaches at most, or None where that is not known.

    Parameters
    ----------
    card : str
        As ``torch.cuda.get_device_name`` gives it.
    precision : {"fp32", "tf32", "bf16"}
        Of products; tf32 is half as fast as bf16. No peak is told for fp32.
    """
    words = card.replace("-", " ").split()
    for name, peak in PEAKS:
        if all(word in words for word in name):
            return {"bf16": peak, "tf32": peak / 2}.get(precision)
    return None
