"""SwiFT (Kim et al. 2023): a Swin transformer over volumes in time, and what it learns."""

from brainjepa_core.models.registry import Family
from brainjepa_core.models.swift.model import SwiftModel
from brainjepa_core.models.swift.settings import SwiftSettings

FAMILY = Family("swift", SwiftSettings, SwiftModel)
