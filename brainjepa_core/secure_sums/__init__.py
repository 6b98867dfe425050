"""Secure sums: a coordinator learns the sum of what sites have, and nothing of one site alone.

The protocol is that of Bonawitz et al. (CCS 2017, doi:10.1145/3133956.3133982) against an active
coordinator: masks that cancel in pairs, a mask of each site's own, Shamir shares of both for those
who drop out, and signatures on who is alive before anything is unmasked.
"""

from brainjepa_core.extras import require

require("cryptography")
