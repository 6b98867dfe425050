"""The card of a day-one model: what it is, what was measured, what is not promised."""

from __future__ import annotations

from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.sharing.card import LIMITS, ModelCard
from brainjepa_server.record.basis_facts import BasisFacts

USE = """Each hospital should subtract the mean of its own people's vectors; that needs no label.
As the consensus sees it, shorter and without gaps:

```python
logs = model.embed(series, tr=2.0, pool="latent_log_connectivity")
```"""


def day_one_card(study: str, basis: ConsensusBasis, facts: BasisFacts) -> ModelCard:
    """What is told of it.

    Parameters
    ----------
    study : str
        Its name.
    basis : ConsensusBasis
    facts : BasisFacts
        Of the consensus.
    """
    return ModelCard(
        name=f"Day-one model of {study}",
        summary=f"A model that needs no training: the consensus connectivity of {facts.subjects} "
        f"people of {len(facts.sites)} sites, its basis, and a network before its first step. The "
        "network keeps signals as they are, so what is read of it is connectivity and "
        "log-connectivity of the signals themselves.",
        use=USE,
        data=(
            f"The sum of the connectivity of {facts.subjects} people of {len(facts.sites)} sites, "
            f"and {basis.gradients.shape[1]} gradients of it. No weight was learned from anybody.",
        ),
        recipe=("None: these are the first weights of the study.",),
        privacy=("Sites sent sums over their people; scans stayed where they are.",),
        measured=(
            "Nothing on this consortium's people. Of such a model on 312 people of twelve "
            "hospitals of ABIDE I, 200 regions, each hospital told by the other eleven (95 % over "
            "people): diagnosis of autism, AUC 0.781 (.730 to .831), where plain connectivity has "
            "0.739 (.681 to .796); age, r within site 0.589 (.505 to .663), where plain "
            "connectivity has 0.542 (.458 to .619). docs/evaluation.md has all rows, and how to "
            "make them.",
        ),
        limits=(
            "It is not promised that a diagnosis is told better than by connectivity at other "
            "hospitals, in other illnesses, or of people unlike those above.",
            "Nor that a network that was never trained adds anything to connectivity. This one "
            "does not.",
            *LIMITS,
        ),
    )
