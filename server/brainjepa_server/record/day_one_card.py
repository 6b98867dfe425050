"""The card of a day-one model: what it is, what was measured, what is not promised."""

from __future__ import annotations

from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.checkpoint import Provenance
from brainjepa_core.version import VERSION
from brainjepa_server.record.basis_facts import BasisFacts

CARD = "MODEL_CARD.md"


def day_one_card(study: str, told: Provenance, basis: ConsensusBasis, facts: BasisFacts) -> str:
    """Its text, in Markdown.

    Parameters
    ----------
    study : str
        Its name.
    told : Provenance
    basis : ConsensusBasis
    facts : BasisFacts
        Of the consensus.
    """
    signals = ", ".join(f"{name} {value}" for name, value in told.signals.items())
    return f"""# Day-one model of {study}

A model that needs no training: the consensus connectivity of {facts.subjects} people of \
{len(facts.sites)} sites, its basis, and a network before its first step. The network keeps signals
as they are, so what is read of it is connectivity and log-connectivity of the signals themselves.

| | |
|---|---|
| regions | {len(told.rois)}, atlas {told.atlas} |
| basis | {basis.gradients.shape[1]} gradients, {basis.hash[:12]} |
| signals | {signals} |
| made by | brainjepa-federated {VERSION} |

## Use

```python
import brainjepa

model = brainjepa.load("FOLDER")
pairs = model.embed(series, tr=2.0)                                   # Fisher z of each pair
logs = model.embed(series, tr=2.0, pool="latent_log_connectivity")    # as the consensus sees it
```

Each hospital should subtract the mean of its own people's vectors; that needs no label.

## What was measured

Nothing on this consortium's people. Of such a model on 312 people of twelve hospitals of ABIDE I, \
200 regions,
each hospital told by the other eleven (95 % over people): diagnosis of autism, AUC 0.781 (.730 to
.831), where plain connectivity has 0.739 (.681 to .796); age, r within site 0.589 (.505 to .663),
where plain connectivity has 0.542 (.458 to .619). docs/evaluation.md has all rows, and how to make
them.

## What is not promised

- That a diagnosis is told better than by connectivity at other hospitals, in other illnesses, or of
  people unlike those above: evaluate it on your own (`brainjepa site evaluate`).
- That a network that was never trained adds anything to connectivity. This one does not.
- That it is fit for decisions about a person. It is for research.
"""
