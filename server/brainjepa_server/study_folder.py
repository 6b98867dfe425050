"""Names in the folder of a study, for those who read it without taking part."""

STUDY_FILE = "study.yaml"
BASIS_FILE, SUM_FILE = "basis.npz", "connectivity_sum.npz"
FINAL, BEST = "final", "best"
LOCK = ".lock"
