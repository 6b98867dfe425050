"""Words of the field that pages use, for readers who are not of it."""

from __future__ import annotations

TERMS = {
    "AUC": "Area under the ROC curve: how often a person with the diagnosis gets a higher score "
    "than one without. 0.5 is guessing, 1 never wrong.",
    "balanced accuracy": "Share of each class that is told right, averaged over the classes.",
    "Brier score": "Mean squared distance of the predicted probability from what was so (0 or 1): "
    "0 is perfect; always saying 50 % has 0.25.",
    "bootstrap": "The people are drawn anew many times, some twice and some not at all, to see how "
    "far a figure moves by chance.",
    "calibration": "Whether, of the people given a probability of 70 %, 70 % have the diagnosis.",
    "carpet": "One line a brain region, time to the right; stripes through all lines are motion or "
    "breathing.",
    "censored": "Time points left out because the head moved.",
    "clipped": "Shortened, so that one reply cannot pull the model further than the others do.",
    "confidence interval": "The range in which the figure lies for 95 of 100 such samples.",
    "connectivity": "How alike the signals of two brain regions are over time (correlation).",
    "consensus basis": "Where each brain region lies along a few gradients of connectivity, found "
    "from all sites together.",
    "contract": "What a site has approved of a study: its settings, its questions, how often each "
    "may be asked.",
    "co-skewness": "How signals of three brain regions go together beyond what pairs of them tell: "
    "third moments.",
    "coverage": "Share of a brain region's voxels that the scan has.",
    "drift": "Angle between a site's own gradients and the consensus: 0° is alike, 90° unrelated.",
    "DVARS": "How much the picture as a whole changes from one time point to the next.",
    "eigenvalue": "How much of the connectivity's pattern a gradient holds.",
    "epsilon": "How much the result may tell of one person at most; smaller is more private.",
    "FC": "Functional connectivity: correlations between the signals of all brain regions.",
    "FD": "Framewise displacement: how far the head moved from one time point to the next.",
    "floor": "A figure of fewer people than this is not sent.",
    "global signal": "Mean signal over the brain; jumps are motion or the scanner.",
    "gradient": "An axis along which brain regions with like connectivity lie close together, such "
    "as from the senses to thinking.",
    "Holm": "A correction of p values: the more models are compared, the stricter.",
    "latents": "What the encoder makes of a scan before training sees any label.",
    "loss": "How far the network's guesses of hidden parts of a scan are off; it falls in training "
    "and says little by itself.",
    "MAE": "Mean absolute error: how far off a prediction is, on average.",
    "pool": "How the numbers of many regions and times become one vector a person.",
    "probe": "A simple linear model that reads an outcome from the frozen model's vectors.",
    "principal angle": "The largest angle between two sets of axes.",
    "random weights": "The same network without any training: what it tells is not learned.",
    "R2": "Share of the differences between people that is explained: 1 is all, 0 none, below 0 "
    "worse than guessing the mean.",
    "ROI": "Region of interest: one parcel of the brain atlas.",
    "secure sum": "Replies are masked so that only their sum can be read, by nobody one alone.",
    "sensitivity": "Share of the people with the diagnosis who are found.",
    "share": "What a site's reply counts by in the mean, such as its number of people.",
    "specificity": "Share of the people without the diagnosis who are left alone.",
    "SVM": "Support vector machine, a linear classifier.",
    "TR": "Repetition time: seconds from one picture of the brain to the next.",
    "tSNR": "Temporal signal-to-noise ratio: mean signal over its fluctuation; more is better.",
    "within site": "Compared only with people of the same hospital, so that differences between "
    "scanners do not count.",
    "yardstick": "What is read from the model for people whom no site trained on.",
}
