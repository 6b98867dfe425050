"""BrainGNN: graph convolutions that know which ROI they are at."""
